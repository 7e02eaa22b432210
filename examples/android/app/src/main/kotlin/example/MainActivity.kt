package example

import android.app.Activity
import android.os.Bundle
import android.widget.Button
import android.widget.LinearLayout
import android.widget.TextView
import com.azure.android.communication.common.CommunicationTokenCredential
import com.azure.android.communication.common.CommunicationTokenRefreshOptions
import com.microsoft.identity.client.PublicClientApplication
import java.util.concurrent.ExecutionException
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.MainScope
import kotlinx.coroutines.cancel
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext

/** Signs in, and gets an ACS token from the broker. */
class MainActivity : Activity() {
    private val scope = MainScope()
    private lateinit var status: TextView
    private var signIn: SignIn? = null
    private var credential: CommunicationTokenCredential? = null

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        status = TextView(this)
        val button = Button(this).apply { text = "Get token" }
        button.setOnClickListener { scope.launch { getToken() } }
        setContentView(
            LinearLayout(this).apply {
                orientation = LinearLayout.VERTICAL
                addView(button)
                addView(status)
            },
        )
    }

    override fun onDestroy() {
        credential?.dispose()
        scope.cancel()
        super.onDestroy()
    }

    private suspend fun getToken() {
        status.text = "…"
        status.text = try {
            "ACS token until ${acsTokenEnd()}"
        } catch (needed: SignInNeeded) {
            if (signIn!!.interactively(this, needed.claims)) return getToken()
            needed.message
        } catch (failure: Exception) {
            failure.message
        }
    }

    private suspend fun acsTokenEnd() = withContext(Dispatchers.IO) {
        val signIn = signIn
            ?: SignIn(PublicClientApplication.createSingleAccountPublicClientApplication(applicationContext, R.raw.msal), BuildConfig.SCOPE)
                .also { this@MainActivity.signIn = it }
        // Give the credential to the Calling library: CallClient().createCallAgent(applicationContext, credential).
        val credential = credential
            ?: CommunicationTokenCredential(
                CommunicationTokenRefreshOptions(BrokerTokenRefresher(BuildConfig.BROKER, signIn::entraToken))
                    .setRefreshProactively(true),
            ).also { this@MainActivity.credential = it }
        try {
            credential.token.get().expiresAt
        } catch (failure: ExecutionException) {
            throw generateSequence<Throwable>(failure) { it.cause }.last() // the refresher's own exception
        }
    }
}
