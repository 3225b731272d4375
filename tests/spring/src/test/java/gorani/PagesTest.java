package gorani;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.source.util.JavacTask;
import java.io.IOException;
import java.net.ServerSocket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Pattern;
import javax.tools.DiagnosticCollector;
import javax.tools.JavaFileObject;
import javax.tools.SimpleJavaFileObject;
import javax.tools.ToolProvider;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The Java on the pages for users is Java, and the token that it makes opens a connection. Other languages: tests/system/manifests/docs.rs. */
class PagesTest {
  private static final Path PAGES = Path.of("../../services/gateway/docs");
  private static final Pattern BLOCK = Pattern.compile("(?ms)^```(java|toml) ?(\\S*)\\n(.*?)^```");
  private static final String SECRET = "a-secret-that-the-page-and-the-node-share";

  record Block(Path page, String language, String file, String text) {}

  private static List<Block> blocks() throws IOException {
    List<Block> blocks = new ArrayList<>();
    try (var pages = Files.walk(PAGES)) {
      for (Path page : pages.filter(path -> path.toString().endsWith(".md")).toList()) {
        var found = BLOCK.matcher(Files.readString(page));
        while (found.find()) {
          blocks.add(new Block(page, found.group(1), found.group(2), found.group(3)));
        }
      }
    }
    return blocks;
  }

  private static String textOf(String file) throws IOException {
    var blocks = blocks().stream().filter(block -> block.page.endsWith("tokens.md") && block.file.equals(file));
    return blocks.findFirst().orElseThrow().text;
  }

  /** Reads a source without looking up what it names. */
  private static void parse(Block block) throws IOException {
    // A block that is no file is a part of a method.
    String source = block.file.isEmpty() ? "class Part { void part() throws Exception {\n%s\n} }".formatted(block.text) : block.text;
    var problems = new DiagnosticCollector<JavaFileObject>();
    var file = new SimpleJavaFileObject(URI.create("string:///Part.java"), JavaFileObject.Kind.SOURCE) {
      @Override
      public CharSequence getCharContent(boolean ignoresErrors) {
        return source;
      }
    };
    var compiler = ToolProvider.getSystemJavaCompiler();
    ((JavacTask) compiler.getTask(null, null, problems, null, null, List.of(file))).parse();
    assertEquals(List.of(), problems.getDiagnostics(), block.page.toString());
  }

  @Test
  void everyBlockOfJavaIsRead() throws Exception {
    List<Block> java = blocks().stream().filter(block -> block.language.equals("java")).toList();
    assertTrue(java.size() > 3, "the pages have Java");
    for (Block block : java) {
      parse(block);
    }
  }

  @Test
  void theTokenOfThePageOpensAConnection(@TempDir Path directory) throws Exception {
    Files.writeString(directory.resolve("Token.java"), textOf("Token.java"));
    String java = Path.of(System.getProperty("java.home"), "bin", "java").toString();
    String token = new String(start(directory, java, "Token.java", "42").getInputStream().readAllBytes()).strip();

    int port = freePort();
    Path settings = directory.resolve("gorani.toml");
    Files.writeString(settings, textOf("gorani.toml").replace("8000", String.valueOf(port)));
    String binary = System.getenv().getOrDefault("GORANI_BIN", "../../target/debug/gorani");
    Process node = start(directory, Path.of(binary).toAbsolutePath().toString(), "serve", "--config", settings.toString());
    try {
      while (get(port, "/health/ready", "") != 200) {
        assertTrue(node.isAlive(), "the node runs");
        Thread.sleep(20);
      }
      assertEquals(200, get(port, "/connection/poll?channel=app:hello", token));
      assertEquals(401, get(port, "/connection/poll?channel=app:hello", token + "x"));
    } finally {
      node.destroyForcibly();
    }
  }

  private static Process start(Path directory, String... command) throws IOException {
    var builder = new ProcessBuilder(command).directory(directory.toFile()).redirectError(ProcessBuilder.Redirect.INHERIT);
    builder.environment().put("GORANI__TOKEN__HMAC_SECRET", SECRET);
    return builder.start();
  }

  /** The status of the answer; 0 without one. */
  private static int get(int port, String path, String token) throws InterruptedException {
    var request = HttpRequest.newBuilder(URI.create("http://127.0.0.1:" + port + path));
    if (!token.isEmpty()) {
      request.header("Authorization", "Bearer " + token);
    }
    try {
      return HttpClient.newHttpClient().send(request.build(), HttpResponse.BodyHandlers.discarding()).statusCode();
    } catch (IOException absent) {
      return 0;
    }
  }

  private static int freePort() throws IOException {
    try (ServerSocket socket = new ServerSocket(0)) {
      return socket.getLocalPort();
    }
  }
}
