plugins {
    id("com.android.application") version "9.5.1" // with Kotlin built in
}

android {
    namespace = "example"
    compileSdk = 36
    defaultConfig {
        applicationId = "com.contoso.calling"
        minSdk = 26
        targetSdk = 36
        // From the environment, since the two differ for each developer and deployment.
        buildConfigField("String", "BROKER", "\"${System.getenv("BROKER") ?: "https://localhost:8080"}\"")
        buildConfigField("String", "SCOPE", "\"${System.getenv("SCOPE") ?: "https://communication.azure.com/clients/VoIP"}\"")
    }
    buildFeatures { buildConfig = true }
}

dependencyLocking { lockAllConfigurations() }

dependencies {
    implementation("com.azure.android:azure-communication-common:1.3.0")
    implementation("com.microsoft.identity.client:msal:8.5.0")
    implementation("org.jetbrains.kotlinx:kotlinx-coroutines-android:1.11.0")
}
