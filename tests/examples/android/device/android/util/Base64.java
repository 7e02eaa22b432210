package android.util;

/** What the example and ACS's library use of Android's class, to run outside a device. */
public final class Base64 {
    public static final int DEFAULT = 0;

    public static byte[] decode(String text, int flags) {
        return java.util.Base64.getMimeDecoder().decode(text);
    }
}
