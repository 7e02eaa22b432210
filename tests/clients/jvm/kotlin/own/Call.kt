// Call BROKER ENTRA_TOKEN: one call with openapi-generator's Kotlin client. Prints as ../../js/call.ts does.
fun main(arguments: Array<String>) {
    val (broker, entraToken) = arguments
    try {
        val token = acsToken(broker, entraToken)
        println("200 ${token.token.split('.').size} ${token.expiresOn.toEpochSecond()}")
    } catch (refused: Refused) {
        val error = refused.error?.error
        println("${refused.status} ${error?.code} ${error?.innererror?.code ?: "-"} ${refused.retryAfter ?: "-"}")
    }
    // okhttp's threads would keep the program for a minute.
    System.exit(0)
}
