package gorani;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.stream.IntStream;

import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.messaging.MessageDeliveryException;
import org.springframework.messaging.simp.SimpMessagingTemplate;
import org.springframework.messaging.simp.user.SimpUserRegistry;

/** Two instances of an application, each of which relays to a node of its own; Redis between the nodes. */
class TwoInstancesTest {
  private static final int MESSAGES = 100;
  /** Over the 10 s after which an instance tells the others who is connected to it. */
  private static final long KNOWN_WITHIN_SECONDS = 60;

  private RedisServer redis;
  private GoraniNode firstNode;
  private GoraniNode secondNode;
  private ConfigurableApplicationContext first;
  private ConfigurableApplicationContext second;

  @BeforeEach
  void start() throws Exception {
    redis = new RedisServer();
    firstNode = new GoraniNode(redis.settings());
    secondNode = new GoraniNode(redis.settings());
    first = Application.start(firstNode.tcp);
    second = Application.start(secondNode.tcp);
    awaitBroadcasts();
  }

  @AfterEach
  void stop() {
    first.close();
    second.close();
    firstNode.close();
    secondNode.close();
    redis.close();
  }

  private static void send(ConfigurableApplicationContext instance, String user, String text) {
    instance.getBean(SimpMessagingTemplate.class).convertAndSendToUser(user, "/queue/orders", Map.of("text", text));
  }

  private static List<String> texts(String from) {
    return IntStream.range(0, MESSAGES).mapToObj(number -> from + number).toList();
  }

  /** Takes as many messages as there are texts, which must be these, in whatever order. */
  private static void expect(BlockingQueue<Map<String, Object>> heard, Set<String> texts) throws Exception {
    Set<String> left = new HashSet<>(texts);
    while (!left.isEmpty()) {
      String text = String.valueOf(Client.next(heard).get("text"));
      assertTrue(left.remove(text), text + " came twice, or is of nobody");
    }
  }

  private static Set<String> both(String one, String other) {
    Set<String> both = new HashSet<>(texts(one));
    both.addAll(texts(other));
    return both;
  }

  /**
   * Waits until both instances hear of messages to users whom the other one does not know. Spring subscribes to them after it has told
   * that its broker is there, and nothing tells when that has come to the node.
   */
  private void awaitBroadcasts() throws InterruptedException {
    long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(KNOWN_WITHIN_SECONDS);
    while (!haveBroadcasts()) {
      assertTrue(System.nanoTime() < until, "the instances do not subscribe to the messages of each other");
      Thread.sleep(50);
    }
  }

  private boolean haveBroadcasts() throws InterruptedException {
    try {
      return firstNode.api("channels", "{\"pattern\":\"unresolved-user\"}").contains("\"num_clients\":2");
    } catch (IOException unanswered) {
      return false;
    }
  }

  private static void awaitUser(ConfigurableApplicationContext instance, String user) throws InterruptedException {
    SimpUserRegistry registry = instance.getBean(SimpUserRegistry.class);
    long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(KNOWN_WITHIN_SECONDS);
    while (registry.getUser(user) == null) {
      assertTrue(System.nanoTime() < until, user + " does not become known");
      Thread.sleep(50);
    }
  }

  @Test
  void everyUserMessageArrivesOnceFromWhicheverInstanceAndBeforeTheUserIsKnownThere() throws Exception {
    try (Client ann = Application.client(first, "ann"); Client ben = Application.client(second, "ben")) {
      var toAnn = ann.subscribe("/user/queue/orders", true);
      var toBen = ben.subscribe("/user/queue/orders", true);
      for (String round : List.of("unknown", "known")) {
        for (int number = 0; number < MESSAGES; number++) {
          for (String user : List.of("ann", "ben")) {
            send(first, user, round + " first " + number);
            send(second, user, round + " second " + number);
          }
        }
        expect(toAnn, both(round + " first ", round + " second "));
        expect(toBen, both(round + " first ", round + " second "));
        awaitUser(first, "ben");
        awaitUser(second, "ann");
      }
      // A broadcast to both, behind which nothing may have come a second time.
      for (ConfigurableApplicationContext instance : List.of(first, second)) {
        send(instance, "ann", "last");
        send(instance, "ben", "last");
      }
      for (var heard : List.of(toAnn, toBen)) {
        for (int instance = 0; instance < 2; instance++) {
          assertEquals(Map.of("text", "last"), Client.next(heard));
        }
      }
    }
  }

  @Test
  void aRestartOfOneNodeLosesNothingOfTheOtherAndTheInstanceKnowsThatItsBrokerIsAway() throws Exception {
    try (Client ann = Application.client(first, "ann")) {
      var toAnn = ann.subscribe("/user/queue/orders", true);
      awaitUser(second, "ann");
      Client ben = Application.client(second, "ben");
      ben.subscribe("/user/queue/orders", true);

      AtomicBoolean isOver = new AtomicBoolean();
      CompletableFuture<Set<String>> ofFirst = CompletableFuture.supplyAsync(() -> {
        Set<String> sent = new HashSet<>();
        for (int number = 0; !isOver.get(); number++) {
          send(first, "ann", "meanwhile " + number);
          sent.add("meanwhile " + number);
          pause();
        }
        return sent;
      });
      secondNode.stop();
      Application.awaitBroker(second, false);
      // An application that wants to lose nothing keeps what it could not send, and sends it when the broker is back.
      boolean wasTold = false;
      try {
        send(second, "ann", "into the void");
      } catch (MessageDeliveryException error) {
        wasTold = true;
      }
      assertTrue(wasTold, "an instance without a broker takes messages");
      // Ben's connection ends with an ERROR.
      Client.next(ben.errors);
      ben.close();
      // Spring finds no session of his, and says nothing.
      send(first, "ben", "to nobody");
      secondNode.start();
      Application.awaitBroker(second, true);
      awaitBroadcasts();
      isOver.set(true);
      Set<String> expected = ofFirst.get(60, TimeUnit.SECONDS);
      assertTrue(expected.size() > 10, "the restart took no time");
      expect(toAnn, expected);

      try (Client again = Application.client(second, "ben")) {
        var toBen = again.subscribe("/user/queue/orders", true);
        for (int number = 0; number < MESSAGES; number++) {
          for (String user : List.of("ann", "ben")) {
            send(first, user, "after first " + number);
            send(second, user, "after second " + number);
          }
        }
        expect(toAnn, both("after first ", "after second "));
        expect(toBen, both("after first ", "after second "));
      }
    }
  }

  private static void pause() {
    try {
      Thread.sleep(10);
    } catch (InterruptedException interrupted) {
      Thread.currentThread().interrupt();
    }
  }
}
