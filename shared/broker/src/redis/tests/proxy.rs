//! Stands between a node and the server, and can let packets vanish without a reset.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

pub(super) struct Proxy {
    pub(super) port: u16,
    /// Raised by one: connections accepted before are a black hole from then on.
    age: watch::Sender<u32>,
    /// Only those that have subscribed to something.
    only_listeners: Arc<AtomicBool>,
    /// New ones too.
    holding: Arc<AtomicBool>,
    /// Only what the server says vanishes.
    only_answers: Arc<AtomicBool>,
    /// Everything that has subscribed to nothing vanishes.
    no_requests: Arc<AtomicBool>,
}

impl Proxy {
    pub(super) async fn to(server_port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let age = watch::Sender::new(0);
        let only_listeners = Arc::new(AtomicBool::new(false));
        let holding = Arc::new(AtomicBool::new(false));
        let only_answers = Arc::new(AtomicBool::new(false));
        let (ages, only, hold) = (age.clone(), Arc::clone(&only_listeners), Arc::clone(&holding));
        let answers = Arc::clone(&only_answers);
        let no_requests = Arc::new(AtomicBool::new(false));
        let requests = Arc::clone(&no_requests);
        tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let far = TcpStream::connect(("127.0.0.1", server_port)).await.unwrap();
                let gate = Gate {
                    born: *ages.borrow(),
                    ages: ages.subscribe(),
                    subscribed: Arc::new(AtomicBool::new(false)),
                    only_listeners: Arc::clone(&only),
                    holding: Arc::clone(&hold),
                    only_answers: Arc::clone(&answers),
                    no_requests: Arc::clone(&requests),
                };
                let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
                tokio::spawn(gate.clone().pass(near_read, far_write, false));
                tokio::spawn(gate.pass(far_read, near_write, true));
            }
        });
        Self { port, age, only_listeners, holding, only_answers, no_requests }
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Everything sent over the connections of now vanishes, in both directions.
    pub(super) fn swallow_all(&self) {
        self.age.send_modify(|age| *age += 1);
    }

    /// The server's answers on the present connections vanish; it still receives commands.
    pub(super) fn swallow_answers(&self) {
        self.only_answers.store(true, Ordering::SeqCst);
        self.swallow_all();
    }

    /// The same as [`Proxy::swallow_all`] for those connections alone that listen, and for new ones of that kind until [`Proxy::let_listen`].
    pub(super) fn swallow_listeners(&self) {
        self.only_listeners.store(true, Ordering::SeqCst);
        self.holding.store(true, Ordering::SeqCst);
        self.swallow_all();
    }

    /// Sets whether connections that do not listen are a black hole, new ones too.
    pub(super) fn swallow_requests(&self, swallow: bool) {
        self.no_requests.store(swallow, Ordering::SeqCst);
    }

    /// Connections that listen work again; what was swallowed stays so.
    pub(super) fn let_listen(&self) {
        self.swallow_all();
        self.holding.store(false, Ordering::SeqCst);
    }
}

#[derive(Clone)]
struct Gate {
    born: u32,
    ages: watch::Receiver<u32>,
    subscribed: Arc<AtomicBool>,
    only_listeners: Arc<AtomicBool>,
    holding: Arc<AtomicBool>,
    only_answers: Arc<AtomicBool>,
    no_requests: Arc<AtomicBool>,
}

impl Gate {
    fn swallows(&self, is_answer: bool) -> bool {
        if self.no_requests.load(Ordering::SeqCst) && !self.subscribed.load(Ordering::SeqCst) {
            return true;
        }
        (*self.ages.borrow() > self.born || self.holding.load(Ordering::SeqCst))
            && (self.subscribed.load(Ordering::SeqCst) || !self.only_listeners.load(Ordering::SeqCst))
            && (is_answer || !self.only_answers.load(Ordering::SeqCst))
    }

    async fn pass(self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, is_answer: bool) {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let bytes = &buffer[..count];
            if bytes.windows(9).any(|window| window == b"SUBSCRIBE") {
                self.subscribed.store(true, Ordering::SeqCst);
            }
            if !self.swallows(is_answer) && to.write_all(bytes).await.is_err() {
                return;
            }
        }
    }
}
