import org.springframework.security.oauth2.client.registration.ClientRegistration;
import org.springframework.security.oauth2.core.AuthorizationGrantType;
import org.springframework.security.oauth2.core.OAuth2AccessToken;
import org.springframework.security.oauth2.core.OAuth2AuthorizationException;

/** Recipe none|basic BROKER ENTRA_TOKEN: Spring Security as the recipe has it, or with its default. Prints as ../../js/recipe.mjs does. */
final class Recipe {
    public static void main(String[] arguments) {
        ClientRegistration broker = RecipeSpring.brokerAt(arguments[1]);
        if (arguments[0].equals("basic")) {
            // With a secret and no method set.
            broker = ClientRegistration.withRegistrationId("acs-token-broker")
                .authorizationGrantType(AuthorizationGrantType.TOKEN_EXCHANGE)
                .tokenUri(broker.getProviderDetails().getTokenUri())
                .clientId("contoso-web")
                .clientSecret("not a secret")
                .build();
        }
        try {
            OAuth2AccessToken token = RecipeSpring.acsToken(broker, arguments[2]);
            System.out.println("200 " + token.getTokenValue().split("\\.").length + " " + token.getExpiresAt().getEpochSecond());
        } catch (OAuth2AuthorizationException e) {
            // The status is not kept. RFC 6749 section 5.2 ties invalid_client to 401.
            int status = e.getError().getErrorCode().equals("invalid_client") ? 401 : 400;
            System.out.println(status + " " + e.getError().getErrorCode() + " " + e.getError().getDescription());
        }
    }
}
