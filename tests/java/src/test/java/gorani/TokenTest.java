package gorani;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;

import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

import io.github.centrifugal.centrifuge.ConnectionTokenEvent;
import io.github.centrifugal.centrifuge.ConnectionTokenGetter;
import io.github.centrifugal.centrifuge.Options;
import io.github.centrifugal.centrifuge.SubscriptionOptions;
import io.github.centrifugal.centrifuge.SubscriptionTokenEvent;
import io.github.centrifugal.centrifuge.SubscriptionTokenGetter;
import io.github.centrifugal.centrifuge.TokenCallback;
import io.github.centrifugal.centrifuge.UnauthorizedException;

/** centrifuge-java asks its backend for a new token in time, and says why it ends where there is none. */
class TokenTest {
  /** Seconds of a token that is to be refreshed in the test. */
  private static final int SHORT = 3;

  private static GoraniNode node;

  @BeforeAll
  static void start() throws Exception {
    node = new GoraniNode();
  }

  @AfterAll
  static void stop() {
    node.close();
  }

  private static String connection(String user, long seconds) {
    return Token.of("{\"sub\":\"%s\",\"exp\":%d}".formatted(user, Token.in(seconds)));
  }

  private static String subscription(String user, String channel, long seconds) {
    return Token.of("{\"sub\":\"%s\",\"channel\":\"%s\",\"exp\":%d}".formatted(user, channel, Token.in(seconds)));
  }

  @Test
  void aConnectionTokenIsRefreshedWithoutAnInterruption() throws Exception {
    BlockingQueue<Integer> asked = new LinkedBlockingQueue<>();
    Options options = new Options();
    options.setTokenGetter(new ConnectionTokenGetter() {
      @Override
      public void getConnectionToken(ConnectionTokenEvent event, TokenCallback callback) {
        asked.add(1);
        callback.Done(null, connection("phone", SHORT));
      }
    });
    try (Sdk client = Sdk.connect(node.websocket(), options)) {
      for (int request = 0; request < 4; request++) {
        Sdk.next(asked);
      }
      Sdk.Events events = client.subscribe("open:refreshed");
      node.publish("open:refreshed", "1");
      assertEquals("1", Sdk.text(Sdk.next(events.publications).getData()));
      assertEquals(1, client.connecting.size());
    }
  }

  @Test
  void anExpiredTokenIsReplacedBeforeTheClientConnects() throws Exception {
    Options options = Sdk.withTokens(new LinkedBlockingQueue<>(List.of(connection("phone", 3600))), () -> { });
    options.setToken(connection("phone", -3600));
    try (Sdk client = Sdk.connect(node.websocket(), options)) {
      client.subscribe("open:replaced");
    }
  }

  @Test
  void aBackendThatRefusesATokenEndsTheClient() throws Exception {
    Options options = new Options();
    options.setTokenGetter(new ConnectionTokenGetter() {
      @Override
      public void getConnectionToken(ConnectionTokenEvent event, TokenCallback callback) {
        callback.Done(new UnauthorizedException(), "");
      }
    });
    try (Sdk client = Sdk.refused(node.websocket(), options)) {
      assertEquals(1, Sdk.next(client.disconnected).getCode());
    }
  }

  @Test
  void aSubscriptionTokenOpensItsChannelAndIsRefreshed() throws Exception {
    BlockingQueue<String> asked = new LinkedBlockingQueue<>();
    SubscriptionOptions options = new SubscriptionOptions();
    options.setTokenGetter(new SubscriptionTokenGetter() {
      @Override
      public void getSubscriptionToken(SubscriptionTokenEvent event, TokenCallback callback) {
        asked.add(event.getChannel());
        callback.Done(null, subscription("phone", event.getChannel(), SHORT));
      }
    });
    try (Sdk client = Sdk.connect(node.websocket(), "phone")) {
      Sdk.Events events = client.subscribing("$open:private", options);
      Sdk.next(events.subscribed);
      for (int request = 0; request < 4; request++) {
        assertEquals("$open:private", Sdk.next(asked));
      }
      node.publish("$open:private", "\"secret\"");
      assertEquals("\"secret\"", Sdk.text(Sdk.next(events.publications).getData()));
      assertEquals(0, events.unsubscribed.size());
    }
  }

  @Test
  void aSubscriptionTokenOfAnotherChannelIsRefused() throws Exception {
    SubscriptionOptions options = new SubscriptionOptions();
    options.setToken(subscription("phone", "$open:mine", 3600));
    try (Sdk client = Sdk.connect(node.websocket(), "phone")) {
      assertEquals(103, Sdk.next(client.subscribing("$open:other", options).unsubscribed).getCode());
      assertTrue(client.disconnected.isEmpty());
    }
  }
}
