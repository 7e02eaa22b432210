// What the Android Gradle plugin generates for examples/android.
package example

object BuildConfig {
    const val BROKER = ""
    const val SCOPE = ""
}

object R {
    object raw {
        const val msal = 0
    }
}
