package gorani;

import java.io.IOException;
import java.net.ServerSocket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** A node under test: the real binary on free ports, which it keeps when it is restarted. It is ended with the tests. */
final class GoraniNode implements AutoCloseable {
  /** The key of the tokens that a node accepts. */
  static final String TOKEN_SECRET = "a secret of the tests, 32 bytes or more";

  private static final Duration READY_WITHIN = Duration.ofSeconds(60);
  /** Over the drain and the time that a node gives its last sessions, on a busy machine. */
  private static final Duration STOPPED_WITHIN = Duration.ofSeconds(90);

  final int http = freePort();
  final int tcp = freePort();
  private final HttpClient client = HttpClient.newHttpClient();
  private final Path settings;
  private final Map<String, String> environment;
  private Process process;

  GoraniNode() throws IOException, InterruptedException {
    this(Map.of());
  }

  /** A node with settings beside those of the file, each under the name of its variable without GORANI__. */
  GoraniNode(Map<String, String> more) throws IOException, InterruptedException {
    environment = new HashMap<>();
    more.forEach((name, value) -> environment.put("GORANI__" + name, value));
    settings = Files.createTempFile("gorani", ".toml");
    settings.toFile().deleteOnExit();
    Files.writeString(settings, """
        [http]
        address = "127.0.0.1:%d"
        workers = 2
        [client]
        allow_anonymous = true
        personal_channels = ["open:inbox"]
        expiry_grace = "20s"
        [token]
        hmac_secret = "%s"
        [[stomp.users]]
        name = "guest"
        password = "guest"
        [stomp.tcp]
        address = "127.0.0.1:%d"
        [api]
        keys = ["test-key"]
        [drain]
        seconds = 1
        [[channel.namespaces]]
        name = "open"
        history_size = 1000
        history_ttl = "300s"
        allow_recovery = true
        allow_positioning = true
        presence = true
        join_leave = true
        allow_subscribe_for_client = true
        allow_subscribe_for_anonymous = true
        allow_publish_for_client = true
        allow_publish_for_anonymous = true
        allow_presence_for_subscriber = true
        allow_history_for_subscriber = true
        [[channel.namespaces]]
        name = "members"
        """.formatted(http, TOKEN_SECRET, tcp));
    Runtime.getRuntime().addShutdownHook(new Thread(this::close));
    start();
  }

  /** Starts the node, which is not running, and returns when it is ready. */
  void start() throws IOException, InterruptedException {
    String binary = System.getenv().getOrDefault("GORANI_BIN", "../../target/debug/gorani");
    ProcessBuilder builder = new ProcessBuilder(binary, "serve", "--config", settings.toString()).inheritIO();
    builder.environment().putAll(environment);
    process = builder.start();
    long until = System.nanoTime() + READY_WITHIN.toNanos();
    while (!isReady()) {
      if (!process.isAlive() || System.nanoTime() > until) {
        close();
        throw new IllegalStateException("the node is not ready");
      }
      Thread.sleep(20);
    }
  }

  /** Tells the node to stop, as an operator does, and waits for its end. */
  void stop() throws InterruptedException {
    process.destroy();
    if (!process.waitFor(STOPPED_WITHIN.toSeconds(), TimeUnit.SECONDS)) {
      throw new IllegalStateException("the node does not stop");
    }
  }

  private boolean isReady() throws InterruptedException {
    try {
      HttpRequest request = HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + http + "/health/ready")).build();
      return client.send(request, HttpResponse.BodyHandlers.discarding()).statusCode() == 200;
    } catch (IOException absent) {
      return false;
    }
  }

  /** The address for the Centrifuge SDKs. */
  String websocket() {
    return websocket(http);
  }

  static String websocket(int port) {
    return "ws://127.0.0.1:" + port + "/connection/websocket";
  }

  /** A call of the HTTP API, which must succeed; its answer as JSON text. */
  String api(String method, String json) throws IOException, InterruptedException {
    HttpRequest request = HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + http + "/api/" + method))
        .header("X-API-Key", "test-key").header("Content-Type", "application/json")
        .POST(HttpRequest.BodyPublishers.ofString(json)).build();
    HttpResponse<String> response =
        client.send(request, HttpResponse.BodyHandlers.ofString(StandardCharsets.UTF_8));
    if (response.statusCode() != 200 || response.body().startsWith("{\"error\"")) {
      throw new IOException(method + " " + json + ": " + response.statusCode() + " " + response.body());
    }
    return response.body();
  }

  /** Publishes as a backend without an SDK does. */
  void publish(String channel, String json) throws IOException, InterruptedException {
    api("publish", "{\"channel\":\"%s\",\"data\":%s}".formatted(channel, json));
  }

  @Override
  public void close() {
    if (process != null) {
      process.destroyForcibly();
    }
  }

  static int freePort() {
    try (ServerSocket socket = new ServerSocket(0)) {
      return socket.getLocalPort();
    } catch (IOException error) {
      throw new IllegalStateException(error);
    }
  }
}
