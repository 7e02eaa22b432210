// swift-tools-version: 6.0
import PackageDescription

let package = Package(
    name: "AcsToken",
    platforms: [.iOS(.v16)],
    products: [.library(name: "AcsToken", targets: ["AcsToken"])],
    dependencies: [
        .package(url: "https://github.com/Azure/SwiftPM-AzureCommunicationCommon.git", exact: "1.3.6"),
        .package(url: "https://github.com/AzureAD/microsoft-authentication-library-for-objc.git", exact: "2.14.1"),
    ],
    targets: [
        .target(
            name: "AcsToken",
            dependencies: [
                .product(name: "AzureCommunicationCommon", package: "SwiftPM-AzureCommunicationCommon"),
                .product(name: "MSAL", package: "microsoft-authentication-library-for-objc"),
            ]
        )
    ],
    swiftLanguageModes: [.v5]
)
