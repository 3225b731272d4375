//! HTTP/2 is not served; who speaks nothing else is told so in its own words. Record 22.

use std::{io, time::Duration};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::accepted::TlsConnection;

/// How ALPN names it.
pub(super) const ALPN: &[u8] = b"h2";

/// An empty SETTINGS frame, with which a server begins (RFC 9113 §3.4), and GOAWAY for all streams with `HTTP_1_1_REQUIRED`
/// (§6.8, §7).
const ANSWER: [u8; 26] =
    [0, 0, 0, 4, 0, 0, 0, 0, 0, /* GOAWAY */ 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xD];

/// What the client sent meanwhile is read for so long: closing before would reset the connection and take the answer with it.
const LINGER: Duration = Duration::from_secs(1);
/// And so many bytes of it.
const LINGER_BYTES: u64 = 64 * 1024;

/// Tells the client to use HTTP/1.1, and closes.
pub(super) async fn refuse(mut stream: TlsConnection) {
    let told = tokio::time::timeout(LINGER, async {
        stream.write_all(&ANSWER).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink()).await?;
        Ok::<_, io::Error>(())
    });
    match told.await {
        Ok(Err(error)) => {
            tracing::debug!(%error, "HTTP/2 client left before it was told to use HTTP/1.1")
        }
        Ok(Ok(())) | Err(_) => tracing::debug!("HTTP/2 client told to use HTTP/1.1"),
    }
}
