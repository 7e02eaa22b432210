package example;

import com.azure.core.credential.TokenRequestContext;
import com.azure.identity.DeviceCodeCredential;
import com.azure.identity.DeviceCodeCredentialBuilder;

/** Signs in with Azure Identity (device code) and gets an ACS token from the broker. */
public final class WithAzureIdentity {
    public static void main(String[] arguments) throws Exception {
        var builder = new DeviceCodeCredentialBuilder()
            .clientId(Config.CLIENT_ID)
            .tenantId(Config.AUTHORITY.getPath().substring(1))
            .authorityHost(Config.AUTHORITY.resolve("/").toString())
            .challengeConsumer(code -> System.out.println(code.getMessage()));
        if (Config.EMULATED) builder.disableInstanceDiscovery();
        DeviceCodeCredential credential = builder.build();
        try {
            // Without setCaeEnabled the cached token comes back, whatever the claims.
            var token = Broker.token(claims -> credential
                .getTokenSync(new TokenRequestContext().addScopes(Config.SCOPE).setClaims(claims).setCaeEnabled(claims != null))
                .getToken());
            System.out.println("ACS token until " + token.getExpiresAt());
        } catch (Broker.Refused refused) {
            System.err.println(refused.getMessage());
            System.exit(1);
        }
    }

    private WithAzureIdentity() {}
}
