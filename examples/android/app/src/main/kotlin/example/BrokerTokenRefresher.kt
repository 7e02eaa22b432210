package example

import android.util.Base64
import java.io.IOException
import java.net.HttpURLConnection
import java.net.URL
import java.util.concurrent.Callable
import org.json.JSONObject

/** The broker's refusal. Depend on [code]; the message is for people and may change. */
class BrokerException(val code: String, message: String, requestId: String?) :
    IOException("$message ($code, request $requestId)")

/**
 * Gets an ACS token from the broker's `POST /token`, for `CommunicationTokenRefreshOptions`.
 *
 * [entraToken] gives the user's Entra token; its argument is what Entra asks for beyond the last sign-in, if anything.
 */
class BrokerTokenRefresher(private val broker: String, private val entraToken: (claims: String?) -> String) :
    Callable<String> {
    override fun call(): String {
        var token = entraToken(null)
        var challenged = false
        var attempt = 1
        while (true) {
            val connection = URL("$broker/token").openConnection() as HttpURLConnection
            connection.requestMethod = "POST"
            connection.setRequestProperty("Authorization", "Bearer $token")
            val status = connection.responseCode
            if (status == 200) {
                val answer = JSONObject(connection.inputStream.bufferedReader().readText())
                return answer.getJSONObject("accessToken").getString("token")
            }
            val claims = claims(connection.getHeaderField("WWW-Authenticate"))
            val retryAfter = connection.getHeaderFieldInt("Retry-After", 0)
            if (status == 401 && claims != null && !challenged) {
                challenged = true
                token = entraToken(claims)
            } else if ((status == 429 || status == 503) && retryAfter <= 60 && attempt < 4) {
                attempt++
                Thread.sleep(retryAfter * 1000L)
            } else {
                throw refusal(status, connection)
            }
        }
    }

    private fun claims(challenge: String?): String? =
        Regex("claims=\"([^\"]+)\"").find(challenge.orEmpty())
            ?.let { String(Base64.decode(it.groupValues[1], Base64.DEFAULT)) }

    private fun refusal(status: Int, connection: HttpURLConnection): BrokerException {
        val text = connection.errorStream?.bufferedReader()?.readText().orEmpty()
        val error = runCatching { JSONObject(text).getJSONObject("error") }.getOrNull() // a proxy may answer otherwise
        return BrokerException(
            code = error?.optString("code") ?: "Unknown",
            message = error?.optString("message") ?: "The broker answered $status.",
            requestId = connection.getHeaderField("x-ms-request-id"),
        )
    }
}
