// Runs the refresher of examples/android under ACS's own credential: the arguments are the broker, where the emulator
// gives a user's tokens, and for which API (acs or api).
import com.azure.android.communication.common.CommunicationTokenCredential
import com.azure.android.communication.common.CommunicationTokenRefreshOptions
import example.BrokerTokenRefresher
import java.net.HttpURLConnection
import java.net.URL
import java.util.concurrent.ExecutionException
import kotlin.system.exitProcess
import org.json.JSONObject

fun main(arguments: Array<String>) {
    val (broker, tokenUrl, audience) = arguments
    val refresher = BrokerTokenRefresher(broker) { claims ->
        if (claims != null) println("asked for $claims")
        val request = JSONObject().put("audience", audience).put("acrs", if (claims == null) listOf() else listOf("c1"))
        val connection = URL(tokenUrl).openConnection() as HttpURLConnection
        connection.doOutput = true
        connection.setRequestProperty("Content-Type", "application/json")
        connection.outputStream.use { it.write(request.toString().toByteArray()) }
        JSONObject(connection.inputStream.bufferedReader().readText()).getString("access_token")
    }
    val credential = CommunicationTokenCredential(CommunicationTokenRefreshOptions(refresher).setRefreshProactively(true))
    try {
        println("ACS token until ${credential.token.get().expiresAt}")
    } catch (failure: ExecutionException) {
        println(generateSequence<Throwable>(failure) { it.cause }.last().message)
        exitProcess(1)
    } finally {
        credential.dispose()
    }
    exitProcess(0)
}
