package example;

import com.azure.core.credential.AccessToken;
import com.azure.core.util.BinaryData;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.OffsetDateTime;
import java.util.Base64;
import java.util.Map;
import java.util.function.Function;
import java.util.regex.Pattern;

/** The broker's {@code POST /token}: an Entra token goes in, an ACS token comes out. */
final class Broker {
    private static final HttpClient HTTP = HttpClient.newHttpClient();
    private static final Pattern CLAIMS = Pattern.compile("claims=\"([^\"]+)\"");

    /** The broker's refusal. Depend on the code; the message is for people and may change. */
    static final class Refused extends IOException {
        final String code;

        Refused(String code, String message, String requestId) {
            super("%s (%s, request %s)".formatted(message, code, requestId));
            this.code = code;
        }
    }

    /** {@code entraToken} is given the claims that Entra asked for, or null. */
    static AccessToken token(Function<String, String> entraToken) throws IOException, InterruptedException {
        String token = entraToken.apply(null);
        boolean challenged = false;
        for (int attempt = 1; ; ) {
            var request = HttpRequest.newBuilder(URI.create(Config.BROKER + "/token"))
                .header("Authorization", "Bearer " + token)
                .POST(HttpRequest.BodyPublishers.noBody())
                .build();
            var response = HTTP.send(request, HttpResponse.BodyHandlers.ofString());
            int status = response.statusCode();
            var headers = response.headers();
            if (status == 200) {
                // The end comes from the answer: an ACS token may be encrypted.
                Map<String, String> answer = member(response, "accessToken");
                return new AccessToken(answer.get("token"), OffsetDateTime.parse(answer.get("expiresOn")));
            }
            var claims = headers.firstValue("WWW-Authenticate")
                .flatMap(header -> CLAIMS.matcher(header).results().findFirst())
                .map(found -> new String(Base64.getDecoder().decode(found.group(1)), StandardCharsets.UTF_8));
            long retryAfter = headers.firstValueAsLong("Retry-After").orElse(0);
            if (status == 401 && claims.isPresent() && !challenged) {
                challenged = true;
                token = entraToken.apply(claims.get());
            } else if ((status == 429 || status == 503) && retryAfter <= 60 && attempt < 4) {
                attempt++;
                Thread.sleep(retryAfter * 1000);
            } else {
                Map<String, String> error = member(response, "error");
                throw new Refused(error.get("code"), error.get("message"), headers.firstValue("x-ms-request-id").orElse("-"));
            }
        }
    }

    private static <T> Map<String, T> member(HttpResponse<String> response, String name) {
        Map<String, Map<String, T>> body = BinaryData.fromString(response.body()).toObject(Map.class);
        return body.get(name);
    }

    private Broker() {}
}
