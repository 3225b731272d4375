package gorani;

import java.io.IOException;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.function.Function;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;

/** A backend that a node asks. A script makes the answer to each request, both as JSON text. */
final class ScriptedBackend implements AutoCloseable {
  /** The requests, in their order. */
  final BlockingQueue<String> requests = new LinkedBlockingQueue<>();
  private final HttpServer server;
  private final ExecutorService threads = Executors.newCachedThreadPool();

  ScriptedBackend(Function<String, String> script) throws IOException {
    server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
    server.setExecutor(threads);
    server.createContext("/", exchange -> answer(exchange, script));
    server.start();
  }

  private void answer(HttpExchange exchange, Function<String, String> script) throws IOException {
    try (exchange) {
      String request = new String(exchange.getRequestBody().readAllBytes(), StandardCharsets.UTF_8);
      requests.add(request);
      byte[] answer = script.apply(request).getBytes(StandardCharsets.UTF_8);
      exchange.getResponseHeaders().set("Content-Type", "application/json");
      exchange.sendResponseHeaders(200, answer.length);
      try (OutputStream body = exchange.getResponseBody()) {
        body.write(answer);
      }
    }
  }

  String url() {
    return "http://127.0.0.1:" + server.getAddress().getPort() + "/rpc";
  }

  /** The settings of a node that asks it about every method. The time of a call is for a busy machine. */
  Map<String, String> rpcSettings() {
    return Map.of("RPC__WITHOUT_NAMESPACE__PROXY_ENABLED", "true", "RPC__PROXY__ENDPOINT", url(),
        "RPC__PROXY__TIMEOUT", "20s");
  }

  @Override
  public void close() {
    server.stop(0);
    threads.shutdownNow();
  }
}
