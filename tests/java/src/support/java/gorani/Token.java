package gorani;

import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.util.Base64;

import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/** Tokens as a backend writes them: JWTs by HS256. */
final class Token {
  private Token() {}

  /** A token with these claims, a JSON object. */
  static String of(String claims) {
    String signed = part("{\"alg\":\"HS256\",\"typ\":\"JWT\"}") + "." + part(claims);
    try {
      Mac mac = Mac.getInstance("HmacSHA256");
      mac.init(new SecretKeySpec(GoraniNode.TOKEN_SECRET.getBytes(StandardCharsets.UTF_8), "HmacSHA256"));
      return signed + "." + encode(mac.doFinal(signed.getBytes(StandardCharsets.UTF_8)));
    } catch (GeneralSecurityException error) {
      throw new IllegalStateException(error);
    }
  }

  /** A token of a user without an end. */
  static String ofUser(String user) {
    return of("{\"sub\":\"%s\"}".formatted(user));
  }

  /** The time in so many seconds, as claims have it. */
  static long in(long seconds) {
    return System.currentTimeMillis() / 1000 + seconds;
  }

  private static String part(String json) {
    return encode(json.getBytes(StandardCharsets.UTF_8));
  }

  private static String encode(byte[] bytes) {
    return Base64.getUrlEncoder().withoutPadding().encodeToString(bytes);
  }
}
