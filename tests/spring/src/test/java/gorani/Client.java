package gorani;

import java.lang.reflect.Type;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

import org.springframework.messaging.MessageDeliveryException;
import org.springframework.messaging.converter.CompositeMessageConverter;
import org.springframework.messaging.converter.MappingJackson2MessageConverter;
import org.springframework.messaging.converter.StringMessageConverter;
import org.springframework.messaging.simp.stomp.StompCommand;
import org.springframework.messaging.simp.stomp.StompFrameHandler;
import org.springframework.messaging.simp.stomp.StompHeaders;
import org.springframework.messaging.simp.stomp.StompSession;
import org.springframework.messaging.simp.stomp.StompSessionHandlerAdapter;
import org.springframework.scheduling.concurrent.ThreadPoolTaskScheduler;
import org.springframework.web.socket.WebSocketHttpHeaders;
import org.springframework.web.socket.client.WebSocketClient;
import org.springframework.web.socket.client.standard.StandardWebSocketClient;
import org.springframework.web.socket.messaging.WebSocketStompClient;
import org.springframework.web.socket.sockjs.client.SockJsClient;
import org.springframework.web.socket.sockjs.client.Transport;

/** Spring's own client, with what it hears in line. */
final class Client implements AutoCloseable {
  private static final long SOON_SECONDS = 60;

  final StompSession session;
  /** Messages of errors. */
  final BlockingQueue<String> errors = new LinkedBlockingQueue<>();
  private final WebSocketStompClient client;

  Client(WebSocketClient transport, String url, WebSocketHttpHeaders handshake) throws Exception {
    ThreadPoolTaskScheduler scheduler = new ThreadPoolTaskScheduler();
    scheduler.initialize();
    client = new WebSocketStompClient(transport);
    client.setMessageConverter(new CompositeMessageConverter(
        List.of(new StringMessageConverter(), new MappingJackson2MessageConverter())));
    client.setTaskScheduler(scheduler);
    client.setDefaultHeartbeat(new long[] {1000, 1000});
    session = client.connectAsync(url, handshake, new StompHeaders(), new StompSessionHandlerAdapter() {
      @Override
      public void handleFrame(StompHeaders headers, Object payload) {
        errors.add(String.valueOf(headers.getFirst("message")));
      }

      @Override
      public void handleException(StompSession session, StompCommand command, StompHeaders headers, byte[] payload,
          Throwable exception) {
        errors.add(String.valueOf(exception));
      }
    }).get(SOON_SECONDS, TimeUnit.SECONDS);
    session.setAutoReceipt(false);
  }

  Client(String url) throws Exception {
    this(new StandardWebSocketClient(), url, new WebSocketHttpHeaders());
  }

  /** Through Spring's SockJS client, with one transport alone. */
  static Client overSockJs(Transport transport, String url) throws Exception {
    return new Client(new SockJsClient(List.of(transport)), url, new WebSocketHttpHeaders());
  }

  /** A subscription; where the server gives receipts, it is live when this returns. */
  BlockingQueue<Map<String, Object>> subscribe(String destination, boolean hasReceipts) throws Exception {
    BlockingQueue<Map<String, Object>> heard = new LinkedBlockingQueue<>();
    StompHeaders headers = new StompHeaders();
    headers.setDestination(destination);
    CountDownLatch live = new CountDownLatch(1);
    session.setAutoReceipt(hasReceipts);
    StompSession.Subscription subscription = session.subscribe(headers, new StompFrameHandler() {
      @Override
      public Type getPayloadType(StompHeaders headers) {
        return Map.class;
      }

      @Override
      @SuppressWarnings("unchecked")
      public void handleFrame(StompHeaders headers, Object payload) {
        heard.add((Map<String, Object>) payload);
      }
    });
    session.setAutoReceipt(false);
    if (hasReceipts) {
      subscription.addReceiptTask(live::countDown);
      if (!live.await(SOON_SECONDS, TimeUnit.SECONDS)) {
        throw new IllegalStateException("no receipt for " + destination + ": " + errors);
      }
    }
    return heard;
  }

  static <T> T next(BlockingQueue<T> queue) throws InterruptedException {
    T next = queue.poll(SOON_SECONDS, TimeUnit.SECONDS);
    if (next == null) {
      throw new IllegalStateException("nothing came in time");
    }
    return next;
  }

  @Override
  public void close() {
    try {
      session.disconnect();
    } catch (MessageDeliveryException | IllegalStateException gone) {
      // After an ERROR the server closes; whoever is first, it is over.
    }
    client.stop();
  }
}
