package example

import android.app.Activity
import com.microsoft.identity.client.AcquireTokenParameters
import com.microsoft.identity.client.AcquireTokenSilentParameters
import com.microsoft.identity.client.AuthenticationCallback
import com.microsoft.identity.client.IAuthenticationResult
import com.microsoft.identity.client.ISingleAccountPublicClientApplication
import com.microsoft.identity.client.claims.ClaimsRequest
import com.microsoft.identity.client.exception.MsalException
import com.microsoft.identity.client.exception.MsalUiRequiredException
import kotlin.coroutines.resume
import kotlin.coroutines.resumeWithException
import kotlinx.coroutines.suspendCancellableCoroutine

/** Entra wants to see the user: only [SignIn.interactively] helps, with these claims. */
class SignInNeeded(val claims: String?) : Exception("Your organization asks you to sign in again.")

/** The user's sign-in with MSAL. */
class SignIn(private val app: ISingleAccountPublicClientApplication, private val scope: String) {
    /** Opens the browser. Gives false if the user turns back. */
    suspend fun interactively(activity: Activity, claims: String? = null): Boolean =
        suspendCancellableCoroutine { waiting ->
            val callback = object : AuthenticationCallback {
                override fun onSuccess(result: IAuthenticationResult) = waiting.resume(true)

                override fun onError(error: MsalException) = waiting.resumeWithException(error)

                override fun onCancel() = waiting.resume(false)
            }
            val parameters = AcquireTokenParameters.Builder()
                .startAuthorizationFromActivity(activity)
                .withScopes(listOf(scope))
                .withCallback(callback)
            if (claims != null) parameters.withClaims(ClaimsRequest.getClaimsRequestFromJsonString(claims))
            app.acquireToken(parameters.build())
        }

    /** From MSAL's cache, or renewed. Blocks: not for the main thread. */
    fun entraToken(claims: String?): String {
        val account = app.currentAccount.currentAccount ?: throw SignInNeeded(claims)
        val parameters = AcquireTokenSilentParameters.Builder()
            .forAccount(account)
            .fromAuthority(account.authority)
            .withScopes(listOf(scope))
        if (claims != null) parameters.withClaims(ClaimsRequest.getClaimsRequestFromJsonString(claims))
        try {
            return app.acquireTokenSilent(parameters.build()).accessToken
        } catch (_: MsalUiRequiredException) {
            throw SignInNeeded(claims)
        }
    }
}
