import com.microsoft.aad.msal4j.ClientCredentialFactory;
import com.microsoft.aad.msal4j.ClientCredentialParameters;
import com.microsoft.aad.msal4j.ConfidentialClientApplication;
import com.microsoft.aad.msal4j.DeviceCodeFlowParameters;
import com.microsoft.aad.msal4j.IAuthenticationResult;
import com.microsoft.aad.msal4j.MsalInteractionRequiredException;
import com.microsoft.aad.msal4j.OnBehalfOfParameters;
import com.microsoft.aad.msal4j.PublicClientApplication;
import com.microsoft.aad.msal4j.SilentParameters;
import com.microsoft.aad.msal4j.UserAssertion;
import com.microsoft.aad.msal4j.UserNamePasswordParameters;
import java.io.ByteArrayInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.Set;
import java.util.concurrent.ExecutionException;

/** msal4j: password, silent, refresh, device code, and a certificate's assertion as the broker's app. */
public final class SignIn {
    private static final String EMULATOR = System.getenv("EMULATOR");
    private static final String CLIENT = "c0a5a990-0000-4000-8000-000000000003";
    private static final String API = "c0a5a991-0000-4000-8000-000000000005";
    private static final Set<String> VOIP = Set.of("https://communication.azure.com/clients/VoIP");
    private static final HttpClient HTTP = HttpClient.newHttpClient();

    private static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
        System.out.println(what);
    }

    private static void post(String address, String contentType, String body) {
        try {
            var request = java.net.http.HttpRequest.newBuilder(URI.create(address));
            HTTP.send(
                    request.header("Content-Type", contentType).POST(BodyPublishers.ofString(body)).build(),
                    BodyHandlers.discarding());
        } catch (Exception failure) {
            throw new IllegalStateException(failure);
        }
    }

    private static UserNamePasswordParameters password(Set<String> scopes, String user) {
        return UserNamePasswordParameters.builder(scopes, user, "Emulated-Pa55".toCharArray()).build();
    }

    public static void main(String[] arguments) throws Exception {
        String organizations = EMULATOR + "/organizations/";
        var app = PublicClientApplication.builder(CLIENT).authority(organizations).instanceDiscovery(false).build();
        IAuthenticationResult adele = app.acquireToken(password(VOIP, "adele@fabrikam.com")).get();
        check(adele.account().username().equals("adele@fabrikam.com"), "password");
        // Without the address msal4j asks the account's host, and leaves the port out.
        var silent = SilentParameters.builder(VOIP, adele.account()).authorityUrl(organizations);
        String cached = app.acquireTokenSilently(silent.build()).get().accessToken();
        check(cached.equals(adele.accessToken()), "silent");
        String refreshed = app.acquireTokenSilently(silent.forceRefresh(true).build()).get().accessToken();
        check(!refreshed.equals(cached), "refresh");

        var device = DeviceCodeFlowParameters.builder(VOIP, code -> post(
                code.verificationUri(), "application/x-www-form-urlencoded", "user_code=" + code.userCode() + "&_user=alex"));
        check(app.acquireToken(device.build()).get().account().username().startsWith("alex"), "device code");

        String pem = Files.readString(Path.of(arguments[0]));
        post(EMULATOR + "/_emulator/apps/" + API + "/certificates", "application/x-pem-file", pem);
        var certificate = (X509Certificate) CertificateFactory.getInstance("X.509")
                .generateCertificate(new ByteArrayInputStream(pem.getBytes()));
        String key = Files.readString(Path.of(arguments[1])).replaceAll("-----[A-Z ]+-----|\\s", "");
        var privateKey = KeyFactory.getInstance("RSA")
                .generatePrivate(new PKCS8EncodedKeySpec(Base64.getDecoder().decode(key)));
        var broker = ConfidentialClientApplication
                .builder(API, ClientCredentialFactory.createFromCertificate(privateKey, certificate))
                .authority(EMULATOR + "/fabrikam.com/").instanceDiscovery(false).build();
        var graph = ClientCredentialParameters.builder(Set.of("https://graph.microsoft.com/.default")).build();
        check(broker.acquireToken(graph).get().accessToken() != null, "certificate");

        String joni = app.acquireToken(password(Set.of("api://" + API + "/access"), "joni@fabrikam.com")).get().accessToken();
        var scopes = Set.of("https://communication.azure.com/clients/.default");
        try {
            broker.acquireToken(OnBehalfOfParameters.builder(scopes, new UserAssertion(joni)).build()).get();
            throw new AssertionError("on behalf of joni without more proof");
        } catch (ExecutionException failure) {
            var challenge = (MsalInteractionRequiredException) failure.getCause();
            check(challenge.claims().contains("\"c1\""), "claims challenge on behalf of joni");
        }
    }
}
