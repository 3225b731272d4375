package gorani;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/** A network between a client and a node, which a test cuts. */
final class Proxy implements AutoCloseable {
  private final ServerSocket listener = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
  private final int target;
  private final Set<Socket> open = ConcurrentHashMap.newKeySet();
  private volatile boolean isCut;

  /** A proxy to a port of this machine. */
  Proxy(int target) throws IOException {
    this.target = target;
    inBackground(this::accept);
  }

  int port() {
    return listener.getLocalPort();
  }

  /** Ends every connection, and each new one until {@link #restore}. */
  void cut() {
    isCut = true;
    open.forEach(Proxy::end);
  }

  void restore() {
    isCut = false;
  }

  private void accept() {
    while (!listener.isClosed()) {
      try {
        Socket client = listener.accept();
        if (isCut) {
          end(client);
          continue;
        }
        Socket node = new Socket(InetAddress.getLoopbackAddress(), target);
        open.add(client);
        open.add(node);
        inBackground(() -> pump(client, node));
        inBackground(() -> pump(node, client));
        if (isCut) {
          end(client);
        }
      } catch (IOException refused) {
        // The node is away, or the test is over: the client tries again.
      }
    }
  }

  private void pump(Socket from, Socket to) {
    try (from; to; InputStream in = from.getInputStream(); OutputStream out = to.getOutputStream()) {
      in.transferTo(out);
    } catch (IOException cut) {
      // Both ends are closed.
    } finally {
      open.remove(from);
    }
  }

  private static void end(Socket socket) {
    try {
      socket.close();
    } catch (IOException closed) {
      // It is closed.
    }
  }

  private static void inBackground(Runnable work) {
    Thread thread = new Thread(work);
    thread.setDaemon(true);
    thread.start();
  }

  @Override
  public void close() throws IOException {
    listener.close();
    cut();
  }
}
