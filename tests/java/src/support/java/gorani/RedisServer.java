package gorani;

import java.io.IOException;
import java.net.Socket;
import java.nio.file.Files;
import java.time.Duration;
import java.util.Map;

/** A redis-server of a test's own, which keeps everything in memory. It is ended with the tests. */
final class RedisServer implements AutoCloseable {
  private static final Duration READY_WITHIN = Duration.ofSeconds(30);

  private final int port = GoraniNode.freePort();
  private final Process process;

  RedisServer() throws IOException, InterruptedException {
    process = new ProcessBuilder("redis-server", "--port", String.valueOf(port), "--bind", "127.0.0.1", "--save", "",
        "--appendonly", "no", "--dir", Files.createTempDirectory("gorani-redis").toString())
        .redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.DISCARD).start();
    Runtime.getRuntime().addShutdownHook(new Thread(process::destroyForcibly));
    long until = System.nanoTime() + READY_WITHIN.toNanos();
    while (!accepts()) {
      if (!process.isAlive() || System.nanoTime() > until) {
        close();
        throw new IllegalStateException("redis-server is not ready");
      }
      Thread.sleep(20);
    }
  }

  private boolean accepts() {
    try (Socket socket = new Socket("127.0.0.1", port)) {
      return socket.isConnected();
    } catch (IOException absent) {
      return false;
    }
  }

  /** The settings of a node whose broker this is. One that a busy machine suspends for some seconds is not away. */
  Map<String, String> settings() {
    return Map.of("BROKER__KIND", "redis", "BROKER__REDIS__URL", "redis://127.0.0.1:" + port + "/0",
        "BROKER__REDIS__REQUEST_TIMEOUT", "20s", "BROKER__REDIS__CANARY_TIMEOUT", "20s",
        "CLUSTER__ANSWER_TIMEOUT", "8s");
  }

  @Override
  public void close() {
    process.destroyForcibly();
  }
}
