//! The sockets of requests to the backend: names are resolved at each connect, all addresses of a name are tried, and the one
//! that failed last is tried last.

use std::{
    cell::Cell,
    io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use actix_http::Uri;
use actix_rt::net::{ActixStream, Ready};
use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use futures_util::future::LocalBoxFuture;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::request_trace::SocketUser;

/// A socket that notes in the request which is polled what comes of it.
#[derive(Debug)]
pub(super) struct BackendStream {
    socket: TcpStream,
    user: SocketUser,
}

impl AsyncRead for BackendStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.socket).poll_read(context, buffer);
        this.user.received(buffer.filled().len() - before);
        read
    }
}

impl AsyncWrite for BackendStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.user.sends();
        Pin::new(&mut this.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.user.sends();
        Pin::new(&mut this.socket).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(context)
    }
}

impl ActixStream for BackendStream {
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_read_ready(&self.socket, context)
    }

    fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<Ready>> {
        ActixStream::poll_write_ready(&self.socket, context)
    }
}

/// Opens sockets.
#[derive(Clone)]
pub(super) struct BackendConnector {
    /// Time for one address, so that a silent one leaves time for another.
    pub(super) address_timeout: Duration,
    /// The name that the certificate must have, where it is another one than the host.
    pub(super) certificate_name: Option<Uri>,
    /// The address whose connection failed last.
    pub(super) failed: Rc<Cell<Option<SocketAddr>>>,
    /// The address that was connected to last.
    pub(super) connected: Rc<Cell<Option<SocketAddr>>>,
}

impl BackendConnector {
    async fn connect(self, uri: Uri) -> Result<Connection<Uri, BackendStream>, ConnectError> {
        let host = uri.host().ok_or(ConnectError::NoRecords)?;
        // IPv6 addresses stand in brackets.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let found = tokio::net::lookup_host((host, port)).await;
        let found = found.map_err(|error| ConnectError::Resolver(Box::new(error)))?;
        self.connect_to(found.collect(), uri).await
    }

    /// Connects to one of the addresses of a name.
    async fn connect_to(
        self,
        mut addresses: Vec<SocketAddr>,
        uri: Uri,
    ) -> Result<Connection<Uri, BackendStream>, ConnectError> {
        addresses.sort_by_key(|address| Some(*address) == self.failed.get());
        let mut failure = ConnectError::NoRecords;
        for address in addresses {
            let connecting = tokio::time::timeout(self.address_timeout, TcpStream::connect(address)).await;
            let problem = match connecting {
                Ok(Ok(socket)) => {
                    if let Err(error) = socket.set_nodelay(true) {
                        tracing::debug!(%error, "TCP_NODELAY not set on a connection to a backend");
                    }
                    self.connected.set(Some(address));
                    let stream = BackendStream { socket, user: SocketUser::new() };
                    return Ok(Connection::new(self.certificate_name.unwrap_or(uri), stream));
                }
                Ok(Err(error)) => error,
                Err(elapsed) => io::Error::new(io::ErrorKind::TimedOut, elapsed),
            };
            self.failed.set(Some(address));
            failure = ConnectError::Io(io::Error::new(problem.kind(), format!("{address}: {problem}")));
        }
        Err(failure)
    }
}

impl Service<ConnectInfo<Uri>> for BackendConnector {
    type Response = Connection<Uri, BackendStream>;
    type Error = ConnectError;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Self::Error>>;

    actix_service::always_ready!();

    fn call(&self, info: ConnectInfo<Uri>) -> Self::Future {
        let this = self.clone();
        let uri = info.request().clone();
        Box::pin(this.connect(uri))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn another_address_of_the_name_is_taken_and_the_one_that_failed_is_the_last_from_then_on() {
        let alive = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dead = TcpListener::bind("127.0.0.2:0").await.unwrap();
        let (alive_address, dead_address) = (alive.local_addr().unwrap(), dead.local_addr().unwrap());
        drop(dead);
        let connector = BackendConnector {
            address_timeout: Duration::from_secs(20),
            certificate_name: None,
            failed: Rc::default(),
            connected: Rc::default(),
        };
        let uri = Uri::from_static("http://backend.test/");
        let connect = || connector.clone().connect_to(vec![dead_address, alive_address], uri.clone());
        assert!(connect().await.is_ok());
        assert_eq!(
            (connector.connected.get(), connector.failed.get()),
            (Some(alive_address), Some(dead_address))
        );

        // It is back, and is still not the first that is tried.
        let back = TcpListener::bind(dead_address).await.unwrap();
        assert!(connect().await.is_ok());
        assert_eq!(connector.connected.get(), Some(alive_address));

        // With the other one gone it is the one that is left.
        drop(alive);
        assert!(connect().await.is_ok());
        assert_eq!(
            (connector.connected.get(), connector.failed.get()),
            (Some(dead_address), Some(alive_address))
        );
        drop(back);
    }

    #[tokio::test]
    async fn where_every_address_fails_the_last_failure_is_told() {
        let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let connector = BackendConnector {
            address_timeout: Duration::from_secs(20),
            certificate_name: None,
            failed: Rc::default(),
            connected: Rc::default(),
        };
        let failed = connector.connect_to(vec![dead], Uri::from_static("http://backend.test/")).await;
        let error = match failed {
            Err(ConnectError::Io(error)) => Some(error),
            _ => None,
        };
        let error = error.unwrap();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(error.to_string().contains(&dead.to_string()), "{error}");
        let none = BackendConnector {
            address_timeout: Duration::ZERO,
            certificate_name: None,
            failed: Rc::default(),
            connected: Rc::default(),
        };
        let none = none.connect_to(Vec::new(), Uri::from_static("http://backend.test/")).await;
        assert!(matches!(none.unwrap_err(), ConnectError::NoRecords));
    }
}
