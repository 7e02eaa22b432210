import broker.model.CommunicationAccessToken;
import broker.model.ErrorDetail;
import java.util.Objects;

/** Call BROKER ENTRA_TOKEN: one call with openapi-generator's Java client. Prints as ../../js/call.ts does. */
final class Call {
    public static void main(String[] arguments) throws java.io.IOException {
        Object answer = AcsToken.get(arguments[0], arguments[1]);
        if (answer instanceof CommunicationAccessToken token) {
            System.out.println("200 " + token.getToken().split("\\.").length + " " + token.getExpiresOn().toEpochSecond());
        } else if (answer instanceof AcsToken.Refused refused) {
            ErrorDetail error = refused.error().getError();
            String inner = error.getInnererror() == null ? "-" : error.getInnererror().getCode();
            System.out.println(refused.status() + " " + error.getCode() + " " + inner + " "
                + Objects.requireNonNullElse(refused.retryAfter(), "-"));
        }
    }
}
