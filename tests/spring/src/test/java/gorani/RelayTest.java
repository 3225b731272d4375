package gorani;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.Map;

import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.messaging.simp.SimpMessagingTemplate;

/** A Spring Boot application that has us in the place of its broker. */
class RelayTest {
  private static GoraniNode node;
  private static ConfigurableApplicationContext application;

  @BeforeAll
  static void start() throws Exception {
    node = new GoraniNode();
    application = Application.start(node.tcp);
  }

  @AfterAll
  static void stop() {
    application.close();
    node.close();
  }

  private static Client client(String user) throws Exception {
    return Application.client(application, user);
  }

  @Test
  void whatAControllerSendsReachesTheClientsOfTheApplication() throws Exception {
    try (Client one = client("one"); Client other = client("other")) {
      var heard = one.subscribe("/topic/chat", true);
      var alsoHeard = other.subscribe("/topic/chat", true);
      other.session.send("/app/say", Map.of("text", "hello"));
      assertEquals(Map.of("said", "hello"), Client.next(heard));
      assertEquals(Map.of("said", "hello"), Client.next(alsoHeard));
    }
  }

  @Test
  void whatIsSentToAUserReachesThatUser() throws Exception {
    try (Client one = client("one"); Client other = client("other")) {
      var heard = one.subscribe("/user/queue/orders", true);
      var notHeard = other.subscribe("/user/queue/orders", true);
      SimpMessagingTemplate template = application.getBean(SimpMessagingTemplate.class);
      template.convertAndSendToUser("one", "/queue/orders", Map.of("order", 1));
      assertEquals(Map.of("order", 1), Client.next(heard));
      template.convertAndSendToUser("other", "/queue/orders", Map.of("order", 2));
      assertEquals(Map.of("order", 2), Client.next(notHeard));
      assertEquals(0, heard.size());
    }
  }

  @Test
  void whatABackendPublishesToTheChannelReachesTheClientsOfTheApplication() throws Exception {
    try (Client one = client("one")) {
      var heard = one.subscribe("/topic/chat", true);
      node.publish("chat", "{\"said\":\"by HTTP\"}");
      assertEquals(Map.of("said", "by HTTP"), Client.next(heard));
    }
  }
}
