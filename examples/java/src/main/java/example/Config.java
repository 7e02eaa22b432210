package example;

import java.net.URI;

/** What differs between the emulator (the defaults: {@code acs-token-broker dev --tls}) and Azure. */
final class Config {
    static final String BROKER = variable("BROKER", "https://localhost:8080");
    static final URI AUTHORITY = URI.create(variable("AUTHORITY", "https://localhost:8090/organizations"));
    static final String CLIENT_ID = variable("CLIENT_ID", "c0a5a990-0000-4000-8000-000000000003");
    static final String SCOPE = variable("SCOPE", "https://communication.azure.com/clients/VoIP");
    /** Microsoft's list of hosts does not have the emulator's. */
    static final boolean EMULATED = AUTHORITY.getHost().equals("localhost");

    private static String variable(String name, String otherwise) {
        return System.getenv().getOrDefault(name, otherwise);
    }

    private Config() {}
}
