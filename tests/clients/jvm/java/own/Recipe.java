import broker.ApiClient;
import broker.model.OAuthError;
import org.springframework.security.oauth2.client.registration.ClientRegistration;
import org.springframework.security.oauth2.core.AuthorizationGrantType;
import org.springframework.security.oauth2.core.OAuth2AccessToken;
import org.springframework.security.oauth2.core.OAuth2AuthorizationException;
import org.springframework.web.client.RestClientResponseException;

/** Recipe none|basic BROKER ENTRA_TOKEN: Spring Security as the recipe has it, or with its default. Prints as ../../js/recipe.mjs does. */
final class Recipe {
    public static void main(String[] arguments) throws java.io.IOException {
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
            // Spring reads the error of a 400. Any other answer is its cause.
            if (!(e.getCause() instanceof RestClientResponseException answer)) {
                System.out.println("400 " + e.getError().getErrorCode() + " " + e.getError().getDescription());
                return;
            }
            OAuthError error = new ApiClient().getObjectMapper().readValue(answer.getResponseBodyAsString(), OAuthError.class);
            System.out.println(answer.getStatusCode().value() + " " + error.getError() + " " + error.getErrorDescription());
        }
    }
}
