package example;

import com.microsoft.aad.msal4j.ClaimsRequest;
import com.microsoft.aad.msal4j.DeviceCodeFlowParameters;
import com.microsoft.aad.msal4j.IAuthenticationResult;
import com.microsoft.aad.msal4j.MsalInteractionRequiredException;
import com.microsoft.aad.msal4j.PublicClientApplication;
import com.microsoft.aad.msal4j.SilentParameters;
import java.net.MalformedURLException;
import java.util.Set;
import java.util.concurrent.CompletionException;

/** Signs in with MSAL (device code) and gets an ACS token from the broker. */
public final class WithMsal {
    private final PublicClientApplication app;
    private IAuthenticationResult last;

    private WithMsal() throws MalformedURLException {
        app = PublicClientApplication.builder(Config.CLIENT_ID)
            .authority(Config.AUTHORITY.toString())
            .instanceDiscovery(!Config.EMULATED)
            .build();
    }

    /** From MSAL's cache, renewed, or with the user's help. */
    private String entraToken(String claims) {
        var scopes = Set.of(Config.SCOPE);
        var requested = claims == null ? null : ClaimsRequest.formatAsClaimsRequest(claims);
        if (last != null) {
            try {
                last = app.acquireTokenSilently(SilentParameters.builder(scopes, last.account()).claims(requested).build()).join();
                return last.accessToken();
            } catch (CompletionException | MalformedURLException failure) {
                if (!(failure.getCause() instanceof MsalInteractionRequiredException)) throw new IllegalStateException(failure);
            }
        }
        var parameters = DeviceCodeFlowParameters.builder(scopes, code -> System.out.println(code.message())).claims(requested);
        last = app.acquireToken(parameters.build()).join();
        return last.accessToken();
    }

    public static void main(String[] arguments) throws Exception {
        try {
            var token = Broker.token(new WithMsal()::entraToken);
            System.out.println("ACS token until " + token.getExpiresAt());
        } catch (Broker.Refused refused) {
            System.err.println(refused.getMessage());
            System.exit(1);
        }
    }
}
