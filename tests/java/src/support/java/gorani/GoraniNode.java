package gorani;

import java.io.IOException;
import java.net.ServerSocket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;

/** A node under test: the real binary on free ports, ended with the tests. */
final class GoraniNode implements AutoCloseable {
  private static final Duration READY_WITHIN = Duration.ofSeconds(30);

  final int http = freePort();
  final int tcp = freePort();
  private final Process process;

  GoraniNode() throws IOException, InterruptedException {
    Path settings = Files.createTempFile("gorani", ".toml");
    Files.writeString(settings, """
        [http]
        address = "127.0.0.1:%d"
        [client]
        allow_anonymous = true
        [[stomp.users]]
        name = "guest"
        password = "guest"
        [stomp.tcp]
        address = "127.0.0.1:%d"
        [api]
        keys = ["test-key"]
        [[channel.namespaces]]
        name = "open"
        allow_subscribe_for_client = true
        allow_subscribe_for_anonymous = true
        allow_publish_for_client = true
        allow_publish_for_anonymous = true
        """.formatted(http, tcp));
    String binary = System.getenv().getOrDefault("GORANI_BIN", "../../target/debug/gorani");
    process = new ProcessBuilder(binary, "serve", "--config", settings.toString()).inheritIO().start();
    Runtime.getRuntime().addShutdownHook(new Thread(process::destroyForcibly));
    long until = System.nanoTime() + READY_WITHIN.toNanos();
    while (!isReady()) {
      if (!process.isAlive() || System.nanoTime() > until) {
        close();
        throw new IllegalStateException("the node is not ready");
      }
      Thread.sleep(20);
    }
  }

  private boolean isReady() throws InterruptedException {
    try {
      return get("/health/ready") == 200;
    } catch (IOException absent) {
      return false;
    }
  }

  private int get(String path) throws IOException, InterruptedException {
    HttpRequest request = HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + http + path)).build();
    return HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.discarding()).statusCode();
  }

  /** What a backend without Spring does. */
  void publish(String channel, String json) throws IOException, InterruptedException {
    String body = "{\"channel\":\"%s\",\"data\":%s}".formatted(channel, json);
    HttpRequest request = HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + http + "/api/publish"))
        .header("X-API-Key", "test-key").POST(HttpRequest.BodyPublishers.ofString(body)).build();
    int status = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.discarding()).statusCode();
    if (status != 200) {
      throw new IOException("publish: " + status);
    }
  }

  @Override
  public void close() {
    process.destroyForcibly();
  }

  private static int freePort() {
    try (ServerSocket socket = new ServerSocket(0)) {
      return socket.getLocalPort();
    } catch (IOException error) {
      throw new IllegalStateException(error);
    }
  }
}
