package gorani;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.security.Principal;
import java.util.Map;

import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.boot.builder.SpringApplicationBuilder;
import org.springframework.boot.web.servlet.context.ServletWebServerApplicationContext;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.event.EventListener;
import org.springframework.http.server.ServerHttpRequest;
import org.springframework.messaging.handler.annotation.MessageMapping;
import org.springframework.messaging.handler.annotation.Payload;
import org.springframework.messaging.handler.annotation.SendTo;
import org.springframework.messaging.simp.SimpMessagingTemplate;
import org.springframework.messaging.simp.broker.BrokerAvailabilityEvent;
import org.springframework.messaging.simp.config.MessageBrokerRegistry;
import org.springframework.stereotype.Controller;
import org.springframework.web.socket.WebSocketHandler;
import org.springframework.web.socket.WebSocketHttpHeaders;
import org.springframework.web.socket.client.standard.StandardWebSocketClient;
import org.springframework.web.socket.config.annotation.EnableWebSocketMessageBroker;
import org.springframework.web.socket.config.annotation.StompEndpointRegistry;
import org.springframework.web.socket.config.annotation.WebSocketMessageBrokerConfigurer;
import org.springframework.web.socket.server.support.DefaultHandshakeHandler;

import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** A Spring Boot application that has us in the place of its broker, with nothing changed but host and port of the relay. */
class RelayTest {
  private static GoraniNode node;
  private static ConfigurableApplicationContext application;

  @SpringBootApplication
  @EnableWebSocketMessageBroker
  static class Application implements WebSocketMessageBrokerConfigurer {
    static int relayPort;
    static final CountDownLatch available = new CountDownLatch(1);

    @Override
    public void configureMessageBroker(MessageBrokerRegistry registry) {
      registry.setApplicationDestinationPrefixes("/app");
      registry.enableStompBrokerRelay("/topic", "/queue").setRelayHost("127.0.0.1").setRelayPort(relayPort);
    }

    @Override
    public void registerStompEndpoints(StompEndpointRegistry registry) {
      registry.addEndpoint("/ws").setHandshakeHandler(new DefaultHandshakeHandler() {
        @Override
        protected Principal determineUser(ServerHttpRequest request, WebSocketHandler handler,
            Map<String, Object> attributes) {
          String user = request.getHeaders().getFirst("X-User");
          return user == null ? null : () -> user;
        }
      });
    }

    @EventListener
    void availability(BrokerAvailabilityEvent event) {
      if (event.isBrokerAvailable()) {
        available.countDown();
      }
    }

    @Bean
    Chat chat() {
      return new Chat();
    }
  }

  @Controller
  static class Chat {
    @MessageMapping("/say")
    @SendTo("/topic/chat")
    Map<String, Object> say(@Payload Map<String, Object> said) {
      return Map.of("said", said.get("text"));
    }
  }

  @BeforeAll
  static void start() throws Exception {
    node = new GoraniNode();
    Application.relayPort = node.tcp;
    application = new SpringApplicationBuilder(Application.class).properties("server.port=0").run();
    if (!Application.available.await(30, TimeUnit.SECONDS)) {
      throw new IllegalStateException("the relay did not connect");
    }
  }

  @AfterAll
  static void stop() {
    application.close();
    node.close();
  }

  private static Client client(String user) throws Exception {
    int port = ((ServletWebServerApplicationContext) application).getWebServer().getPort();
    WebSocketHttpHeaders handshake = new WebSocketHttpHeaders();
    handshake.add("X-User", user);
    return new Client(new StandardWebSocketClient(), "ws://127.0.0.1:" + port + "/ws", handshake);
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
