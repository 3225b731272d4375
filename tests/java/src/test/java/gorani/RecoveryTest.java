package gorani;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;

import io.github.centrifugal.centrifuge.Options;
import io.github.centrifugal.centrifuge.ServerSubscribedEvent;
import io.github.centrifugal.centrifuge.SubscribedEvent;

/** Publications from while centrifuge-java was away come once and in order. */
class RecoveryTest {
  private static void publish(GoraniNode node, String channel, int from, int to) throws Exception {
    for (int number = from; number < to; number++) {
      node.publish(channel, String.valueOf(number));
    }
  }

  @Test
  void afterItsConnectionWasCut() throws Exception {
    try (GoraniNode node = new GoraniNode(); Proxy network = new Proxy(node.http);
        Sdk client = Sdk.connect(GoraniNode.websocket(network.port()), "phone")) {
      Sdk.Events events = client.subscribe("open:cut");
      publish(node, "open:cut", 0, 20);
      events.expectNumbers(0, 20);
      for (int round = 1; round < 4; round++) {
        network.cut();
        publish(node, "open:cut", 20 * round, 20 * round + 20);
        network.restore();
        SubscribedEvent again = Sdk.next(events.subscribed);
        assertTrue(again.wasRecovering() && again.getRecovered());
        events.expectNumbers(20 * round, 20 * round + 20);
      }
      publish(node, "open:cut", 80, 90);
      events.expectNumbers(80, 90);
    }
  }

  @Test
  void afterItsNodeWasRestarted() throws Exception {
    try (RedisServer redis = new RedisServer(); GoraniNode node = new GoraniNode(redis.settings());
        GoraniNode other = new GoraniNode(redis.settings()); Sdk client = Sdk.connect(node.websocket(), "phone")) {
      Sdk.Events events = client.subscribe("open:restart");
      publish(other, "open:restart", 0, 20);
      events.expectNumbers(0, 20);
      Sdk.next(client.connecting);
      node.stop();
      // The code of a node that shuts down.
      assertEquals(3001, Sdk.next(client.connecting).getCode());
      publish(other, "open:restart", 20, 60);
      node.start();
      SubscribedEvent again = Sdk.next(events.subscribed);
      assertTrue(again.wasRecovering() && again.getRecovered());
      events.expectNumbers(20, 60);
      publish(node, "open:restart", 60, 70);
      events.expectNumbers(60, 70);
    }
  }

  @Test
  void inTheChannelsThatTheServerChose() throws Exception {
    try (GoraniNode node = new GoraniNode(); Proxy network = new Proxy(node.http)) {
      Options options = Sdk.withToken(Token.of("{\"sub\":\"phone\",\"channels\":[\"open:chosen\"]}"));
      try (Sdk client = Sdk.connect(GoraniNode.websocket(network.port()), options)) {
        for (String channel : new String[] {"open:inbox#phone", "open:chosen"}) {
          ServerSubscribedEvent event = Sdk.next(client.subscribed);
          assertTrue(event.getChannel().equals("open:inbox#phone") || event.getChannel().equals("open:chosen"), channel);
          assertFalse(event.wasRecovering());
        }
        node.publish("open:chosen", "1");
        assertEquals("1", Sdk.text(Sdk.next(client.publications).getData()));
        network.cut();
        node.publish("open:chosen", "2");
        node.publish("open:inbox#phone", "{\"order\":3}");
        network.restore();
        for (int channel = 0; channel < 2; channel++) {
          ServerSubscribedEvent event = Sdk.next(client.subscribed);
          assertTrue(event.wasRecovering() && event.getRecovered());
        }
        var missed = new java.util.TreeSet<String>();
        for (int publication = 0; publication < 2; publication++) {
          var event = Sdk.next(client.publications);
          missed.add(event.getChannel() + " " + Sdk.text(event.getData()));
        }
        assertEquals("[open:chosen 2, open:inbox#phone {\"order\":3}]", missed.toString());

        node.api("subscribe", "{\"user\":\"phone\",\"channel\":\"open:later\"}");
        assertEquals("open:later", Sdk.next(client.subscribed).getChannel());
        node.publish("open:later", "4");
        assertEquals("4", Sdk.text(Sdk.next(client.publications).getData()));
        node.api("unsubscribe", "{\"user\":\"phone\",\"channel\":\"open:later\"}");
        assertEquals("open:later", Sdk.next(client.unsubscribed).getChannel());
      }
    }
  }
}
