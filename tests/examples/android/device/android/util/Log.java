package android.util;

/** Where ACS's library logs; outside a device it is silent. */
public final class Log {
    public static boolean isLoggable(String tag, int level) {
        return false;
    }
}
