package gorani;

import java.security.Principal;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.boot.builder.SpringApplicationBuilder;
import org.springframework.boot.web.servlet.context.ServletWebServerApplicationContext;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.context.event.EventListener;
import org.springframework.http.server.ServerHttpRequest;
import org.springframework.messaging.handler.annotation.MessageMapping;
import org.springframework.messaging.handler.annotation.Payload;
import org.springframework.messaging.handler.annotation.SendTo;
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

/** An instance of an application that has a node in the place of its broker, as `docs/spring.md` configures it. */
@SpringBootApplication
@EnableWebSocketMessageBroker
class Application implements WebSocketMessageBrokerConfigurer {
  private static final long SOON_SECONDS = 60;

  /** The port of the node that the instance relays to. */
  @Value("${relay.port}")
  private int relayPort;
  /** The broker has become available, or has ceased to be. */
  private final BlockingQueue<Boolean> availability = new LinkedBlockingQueue<>();

  /** Starts an instance on a free port; it has its broker when this returns. */
  static ConfigurableApplicationContext start(int relayPort) throws InterruptedException {
    ConfigurableApplicationContext instance =
        new SpringApplicationBuilder(Application.class).properties("server.port=0", "relay.port=" + relayPort).run();
    awaitBroker(instance, true);
    return instance;
  }

  /** Waits until the instance has found a broker, or has lost it. */
  static void awaitBroker(ConfigurableApplicationContext instance, boolean isAvailable) throws InterruptedException {
    BlockingQueue<Boolean> availability = instance.getBean(Application.class).availability;
    Boolean next;
    do {
      next = availability.poll(SOON_SECONDS, TimeUnit.SECONDS);
      if (next == null) {
        throw new IllegalStateException("the broker does not become " + (isAvailable ? "available" : "unavailable"));
      }
    } while (next != isAvailable);
  }

  /** A user's connection to an instance. */
  static Client client(ConfigurableApplicationContext instance, String user) throws Exception {
    int port = ((ServletWebServerApplicationContext) instance).getWebServer().getPort();
    WebSocketHttpHeaders handshake = new WebSocketHttpHeaders();
    handshake.add("X-User", user);
    return new Client(new StandardWebSocketClient(), "ws://127.0.0.1:" + port + "/ws", handshake);
  }

  @Override
  public void configureMessageBroker(MessageBrokerRegistry registry) {
    registry.setApplicationDestinationPrefixes("/app");
    registry.enableStompBrokerRelay("/topic", "/queue").setRelayHost("127.0.0.1").setRelayPort(relayPort)
        .setUserDestinationBroadcast("/topic/unresolved-user").setUserRegistryBroadcast("/topic/simp-user-registry");
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
    availability.add(event.isBrokerAvailable());
  }

  @Controller
  static class Chat {
    @MessageMapping("/say")
    @SendTo("/topic/chat")
    Map<String, Object> say(@Payload Map<String, Object> said) {
      return Map.of("said", said.get("text"));
    }
  }
}
