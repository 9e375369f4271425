//! Messages as bytes, for proxies: what is not decoded cannot be lost.
//!
//! A proxy that decoded and encoded again would drop fields of a newer schema, refuse what it has no schema of, and pay
//! for both. gRPC frames each message with its length, so a relay needs nothing else; and on the wire a unary call is a
//! stream of one message, so [`relay`] serves all four kinds of call.

use super::Connection;
use futures_util::stream;
use prost::bytes::{Buf as _, BufMut as _, Bytes};
use tonic::{
    Request, Response, Status, Streaming,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
};

/// A codec whose messages are the bytes that were sent. tonic's limits hold: a message that comes in may have 4 MiB
/// unless the client or server is told otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub struct BytesCodec;

/// The sending half of [`BytesCodec`].
#[derive(Debug, Clone, Copy, Default)]
pub struct BytesEncoder;

/// The receiving half of [`BytesCodec`].
#[derive(Debug, Clone, Copy, Default)]
pub struct BytesDecoder;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = BytesEncoder;
    type Decoder = BytesDecoder;

    fn encoder(&mut self) -> BytesEncoder {
        BytesEncoder
    }
    fn decoder(&mut self) -> BytesDecoder {
        BytesDecoder
    }
}

impl Encoder for BytesEncoder {
    type Item = Bytes;
    type Error = Status;
    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for BytesDecoder {
    type Item = Bytes;
    type Error = Status;
    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

/// As [`BytesCodec`], but what is sent may be an error, which resets the stream.
struct RelayCodec;

struct RelayEncoder;

impl Codec for RelayCodec {
    type Encode = Result<Bytes, Status>;
    type Decode = Bytes;
    type Encoder = RelayEncoder;
    type Decoder = BytesDecoder;

    fn encoder(&mut self) -> RelayEncoder {
        RelayEncoder
    }
    fn decoder(&mut self) -> BytesDecoder {
        BytesDecoder
    }
}

impl Encoder for RelayEncoder {
    type Item = Result<Bytes, Status>;
    type Error = Status;
    fn encode(&mut self, message: Result<Bytes, Status>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message?);
        Ok(())
    }
}

/// Hands a call of any kind on to a node, metadata and all, and answers with the node's answer. Errors: the node's own
/// status, or why it was not reached.
///
/// A caller's stream that breaks is broken towards the node too: an end would tell it that the caller had said
/// everything.
pub async fn relay(
    node: Connection,
    method: PathAndQuery,
    request: Request<Streaming<Bytes>>,
) -> Result<Response<Streaming<Bytes>>, Status> {
    let (metadata, extensions, messages) = request.into_parts();
    let messages = stream::unfold(messages, |mut messages| async move {
        let message = messages.message().await.transpose()?;
        Some((message, messages))
    });
    let mut client = tonic::client::Grpc::new(node);
    client.ready().await?;
    client.streaming(Request::from_parts(metadata, extensions, messages), method, RelayCodec).await
}
