package gorani;

import java.nio.charset.StandardCharsets;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Consumer;

import io.github.centrifugal.centrifuge.Client;
import io.github.centrifugal.centrifuge.ConnectedEvent;
import io.github.centrifugal.centrifuge.ConnectingEvent;
import io.github.centrifugal.centrifuge.ConnectionTokenEvent;
import io.github.centrifugal.centrifuge.ConnectionTokenGetter;
import io.github.centrifugal.centrifuge.DisconnectedEvent;
import io.github.centrifugal.centrifuge.DuplicateSubscriptionException;
import io.github.centrifugal.centrifuge.EventListener;
import io.github.centrifugal.centrifuge.JoinEvent;
import io.github.centrifugal.centrifuge.LeaveEvent;
import io.github.centrifugal.centrifuge.Options;
import io.github.centrifugal.centrifuge.PublicationEvent;
import io.github.centrifugal.centrifuge.ReplyError;
import io.github.centrifugal.centrifuge.ResultCallback;
import io.github.centrifugal.centrifuge.ServerPublicationEvent;
import io.github.centrifugal.centrifuge.ServerSubscribedEvent;
import io.github.centrifugal.centrifuge.ServerUnsubscribedEvent;
import io.github.centrifugal.centrifuge.SubscribedEvent;
import io.github.centrifugal.centrifuge.SubscribingEvent;
import io.github.centrifugal.centrifuge.Subscription;
import io.github.centrifugal.centrifuge.SubscriptionEventListener;
import io.github.centrifugal.centrifuge.SubscriptionOptions;
import io.github.centrifugal.centrifuge.TokenCallback;
import io.github.centrifugal.centrifuge.UnsubscribedEvent;

/** A client of the SDK, with what it tells in queues. */
final class Sdk extends EventListener implements AutoCloseable {
  private static final long SOON_SECONDS = 60;

  final BlockingQueue<ConnectingEvent> connecting = new LinkedBlockingQueue<>();
  final BlockingQueue<ConnectedEvent> connected = new LinkedBlockingQueue<>();
  final BlockingQueue<DisconnectedEvent> disconnected = new LinkedBlockingQueue<>();
  /** Publications of the channels that the server subscribed the client to. */
  final BlockingQueue<ServerPublicationEvent> publications = new LinkedBlockingQueue<>();
  final BlockingQueue<ServerSubscribedEvent> subscribed = new LinkedBlockingQueue<>();
  final BlockingQueue<ServerUnsubscribedEvent> unsubscribed = new LinkedBlockingQueue<>();
  final Client client;

  private Sdk(String url, Options options) {
    // The SDK's own times are for a machine that does nothing else.
    options.setTimeout((int) TimeUnit.SECONDS.toMillis(SOON_SECONDS));
    options.setMaxReconnectDelay(1000);
    client = new Client(url, options, this);
    client.connect();
  }

  /** A client that is connected. */
  static Sdk connect(String url, Options options) throws Exception {
    Sdk sdk = new Sdk(url, options);
    next(sdk.connected);
    return sdk;
  }

  static Sdk connect(String url, String user) throws Exception {
    return connect(url, withToken(Token.ofUser(user)));
  }

  /** A client that the server is to refuse. */
  static Sdk refused(String url, Options options) {
    return new Sdk(url, options);
  }

  static Options withToken(String token) {
    Options options = new Options();
    options.setToken(token);
    return options;
  }

  /** Options with a backend that gives these tokens, one after the other; each request of one is told to {@code asked}. */
  static Options withTokens(BlockingQueue<String> tokens, Runnable asked) {
    Options options = new Options();
    options.setTokenGetter(new ConnectionTokenGetter() {
      @Override
      public void getConnectionToken(ConnectionTokenEvent event, TokenCallback callback) {
        asked.run();
        callback.Done(null, tokens.remove());
      }
    });
    return options;
  }

  @Override
  public void onConnecting(Client client, ConnectingEvent event) {
    connecting.add(event);
  }

  @Override
  public void onConnected(Client client, ConnectedEvent event) {
    connected.add(event);
  }

  @Override
  public void onDisconnected(Client client, DisconnectedEvent event) {
    disconnected.add(event);
  }

  @Override
  public void onPublication(Client client, ServerPublicationEvent event) {
    publications.add(event);
  }

  @Override
  public void onSubscribed(Client client, ServerSubscribedEvent event) {
    subscribed.add(event);
  }

  @Override
  public void onUnsubscribed(Client client, ServerUnsubscribedEvent event) {
    unsubscribed.add(event);
  }

  /** A subscription, with what it tells in queues. */
  static final class Events extends SubscriptionEventListener {
    final BlockingQueue<PublicationEvent> publications = new LinkedBlockingQueue<>();
    final BlockingQueue<SubscribedEvent> subscribed = new LinkedBlockingQueue<>();
    final BlockingQueue<SubscribingEvent> subscribing = new LinkedBlockingQueue<>();
    final BlockingQueue<UnsubscribedEvent> unsubscribed = new LinkedBlockingQueue<>();
    final BlockingQueue<String> joined = new LinkedBlockingQueue<>();
    final BlockingQueue<String> left = new LinkedBlockingQueue<>();
    Subscription subscription;

    @Override
    public void onPublication(Subscription subscription, PublicationEvent event) {
      publications.add(event);
    }

    @Override
    public void onSubscribed(Subscription subscription, SubscribedEvent event) {
      subscribed.add(event);
    }

    @Override
    public void onSubscribing(Subscription subscription, SubscribingEvent event) {
      subscribing.add(event);
    }

    @Override
    public void onUnsubscribed(Subscription subscription, UnsubscribedEvent event) {
      unsubscribed.add(event);
    }

    @Override
    public void onJoin(Subscription subscription, JoinEvent event) {
      joined.add(event.getInfo().getUser());
    }

    @Override
    public void onLeave(Subscription subscription, LeaveEvent event) {
      left.add(event.getInfo().getUser());
    }

    /** The next publications must be these numbers, with offsets that go on from the first. */
    void expectNumbers(int from, int to) throws InterruptedException {
      for (int number = from; number < to; number++) {
        PublicationEvent event = next(publications);
        String data = text(event.getData());
        if (!data.equals(String.valueOf(number)) || event.getOffset() != number + 1) {
          throw new AssertionError(data + " at " + event.getOffset() + " instead of " + number);
        }
      }
    }
  }

  /** A subscription that asks for recovery, for its place and for joins; the server has not answered yet. */
  Events subscribing(String channel) throws DuplicateSubscriptionException {
    SubscriptionOptions options = new SubscriptionOptions();
    options.setRecoverable(true);
    options.setPositioned(true);
    options.setJoinLeave(true);
    return subscribing(channel, options);
  }

  Events subscribing(String channel, SubscriptionOptions options) throws DuplicateSubscriptionException {
    Events events = new Events();
    events.subscription = client.newSubscription(channel, options, events);
    events.subscription.subscribe();
    return events;
  }

  /** The same, and the server has granted it. */
  Events subscribe(String channel) throws Exception {
    Events events = subscribing(channel);
    next(events.subscribed);
    return events;
  }

  /** The result of a request, or the error as an exception of {@link ExecutionException}. */
  static <T> T result(Consumer<ResultCallback<T>> request) throws Exception {
    CompletableFuture<T> done = new CompletableFuture<>();
    request.accept((error, result) -> {
      if (error == null) {
        done.complete(result);
      } else {
        done.completeExceptionally(error);
      }
    });
    return done.get(SOON_SECONDS, TimeUnit.SECONDS);
  }

  /** The code with which the server refuses a request. */
  static <T> int refusal(Consumer<ResultCallback<T>> request) throws InterruptedException, TimeoutException {
    try {
      T result = result(request);
      throw new AssertionError("not refused: " + result);
    } catch (ExecutionException error) {
      if (error.getCause() instanceof ReplyError reply) {
        return reply.getCode();
      }
      throw new AssertionError(error.getCause());
    } catch (InterruptedException | TimeoutException error) {
      throw error;
    } catch (Exception error) {
      throw new AssertionError(error);
    }
  }

  static <T> T next(BlockingQueue<T> queue) throws InterruptedException {
    T next = queue.poll(SOON_SECONDS, TimeUnit.SECONDS);
    if (next == null) {
      throw new AssertionError("nothing came in time");
    }
    return next;
  }

  static byte[] bytes(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }

  static String text(byte[] bytes) {
    return new String(bytes, StandardCharsets.UTF_8);
  }

  @Override
  public void close() throws InterruptedException {
    client.close(TimeUnit.SECONDS.toMillis(SOON_SECONDS));
  }
}
