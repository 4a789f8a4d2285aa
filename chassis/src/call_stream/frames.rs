//! The frames on the wire, for every method alike.
//!
//! Field numbers are those of `sallyport/call/v1/call.proto`. The typed frames of each method are wire-compatible with these:
//! what they embed is a length-delimited field here, so that one client serves them all.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use tonic::codec::{DecodeBuf, Decoder};
use tonic::{Code, Status};

use crate::trace::{TraceContext, Traceparent};

/// A gRPC message on the wire begins with a byte for compression and four for the length.
const GRPC_HEADER: usize = 5;
/// Of a field number below 16.
const KEY_LENGTH: usize = 1;

/// An answer, as the client reads it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ResponseFrame {
    #[prost(uint64, tag = "1")]
    pub(super) id: u64,
    #[prost(oneof = "ResponseBody", tags = "2, 3, 4")]
    pub(super) body: Option<ResponseBody>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum ResponseBody {
    /// The method's response message, still encoded: one that does not decode harms nobody else.
    #[prost(bytes = "bytes", tag = "2")]
    Response(Bytes),
    #[prost(message, tag = "3")]
    Error(CallError),
    #[prost(message, tag = "4")]
    GoAway(GoAway),
}

/// `sallyport.call.v1.CallError`: a gRPC status as the answer to one request.
#[derive(Clone, PartialEq, Message)]
pub struct CallError {
    #[prost(int32, tag = "1")]
    pub code: i32,
    #[prost(string, tag = "2")]
    pub message: String,
    /// A serialised `google.rpc.Status`, as in `grpc-status-details-bin`.
    #[prost(bytes = "bytes", tag = "3")]
    pub details: Bytes,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct GoAway {}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        Self {
            code: status.code() as i32,
            message: status.message().to_owned(),
            details: Bytes::copy_from_slice(status.details()),
        }
    }
}

impl From<CallError> for Status {
    fn from(error: CallError) -> Self {
        // An error that claims to be none is still no response.
        let code = Some(Code::from_i32(error.code)).filter(|code| *code != Code::Ok).unwrap_or(Code::Unknown);
        Self::with_details(code, error.message, error.details)
    }
}

/// Appends the frame of a request, with its gRPC header. `timeout_micros` 0: no limit.
pub(super) fn put_request(
    buffer: &mut BytesMut,
    id: u64,
    context: Option<TraceContext>,
    timeout_micros: u64,
    request: &impl Message,
) {
    let traceparent = if context.is_some() { KEY_LENGTH + 1 + Traceparent::LENGTH } else { 0 };
    let timeout = if timeout_micros > 0 { KEY_LENGTH + encoded_len_varint(timeout_micros) } else { 0 };
    let context_length = traceparent + timeout;
    let request_length = request.encoded_len();
    let length = KEY_LENGTH
        + encoded_len_varint(id)
        + KEY_LENGTH
        + encoded_len_varint(context_length as u64)
        + context_length
        + KEY_LENGTH
        + encoded_len_varint(request_length as u64)
        + request_length;
    put_header(buffer, length);
    put_id(buffer, id);
    encode_key(2, WireType::LengthDelimited, buffer);
    encode_varint(context_length as u64, buffer);
    if let Some(context) = context {
        encode_key(1, WireType::LengthDelimited, buffer);
        encode_varint(Traceparent::LENGTH as u64, buffer);
        buffer.put_slice(context.traceparent().as_bytes());
    }
    if timeout_micros > 0 {
        encode_key(2, WireType::Varint, buffer);
        encode_varint(timeout_micros, buffer);
    }
    encode_key(3, WireType::LengthDelimited, buffer);
    encode_varint(request_length as u64, buffer);
    request.encode_raw(buffer);
}

/// Appends the frame that withdraws a request, with its gRPC header.
pub(super) fn put_cancel(buffer: &mut BytesMut, id: u64) {
    put_header(buffer, KEY_LENGTH + encoded_len_varint(id) + KEY_LENGTH + 1);
    put_id(buffer, id);
    encode_key(4, WireType::LengthDelimited, buffer);
    encode_varint(0, buffer);
}

fn put_header(buffer: &mut BytesMut, length: usize) {
    buffer.reserve(GRPC_HEADER + length);
    buffer.put_u8(0);
    buffer.put_u32(length as u32);
}

fn put_id(buffer: &mut BytesMut, id: u64) {
    encode_key(1, WireType::Varint, buffer);
    encode_varint(id, buffer);
}

/// Reads response frames off a gRPC body.
pub(super) struct ResponseFrames;

impl Decoder for ResponseFrames {
    type Item = ResponseFrame;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<ResponseFrame>, Status> {
        ResponseFrame::decode(buffer)
            .map(Some)
            .map_err(|error| Status::internal(format!("a call stream's frame does not decode: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::tests::fake::{Echo, Nothing, RequestBody, RequestFrame};

    fn only_frame(buffer: &BytesMut) -> RequestFrame {
        assert_eq!(buffer[0], 0, "not compressed");
        let length = u32::from_be_bytes(buffer[1..5].try_into().unwrap()) as usize;
        assert_eq!(buffer.len(), 5 + length);
        RequestFrame::decode(&buffer[5..]).unwrap()
    }

    #[test]
    fn a_request_is_written_as_protobuf_reads_it() {
        let echo = Echo { text: "hello".repeat(100), delay_ms: 7 };
        let context = TraceContext::root(true);
        for (context, timeout_micros) in
            [(Some(context), 2_000_000), (Some(context), 0), (None, 5), (None, 0)]
        {
            let mut buffer = BytesMut::new();
            put_request(&mut buffer, 1 << 40, context, timeout_micros, &echo);
            let frame = only_frame(&buffer);
            assert_eq!(frame.id, 1 << 40);
            let sent = frame.context.unwrap();
            assert_eq!(
                sent.traceparent,
                context.map(|it| it.traceparent().as_str().to_owned()).unwrap_or_default()
            );
            assert_eq!(sent.timeout_micros, timeout_micros);
            assert_eq!(frame.body, Some(RequestBody::Request(echo.clone())));
        }
    }

    #[test]
    fn a_cancel_is_written_as_protobuf_reads_it() {
        let mut buffer = BytesMut::new();
        put_cancel(&mut buffer, 300);
        let frame = only_frame(&buffer);
        assert_eq!((frame.id, frame.body), (300, Some(RequestBody::Cancel(Nothing {}))));
    }

    #[test]
    fn an_error_keeps_code_message_and_details() {
        let status = Status::with_details(Code::Aborted, "moved on", Bytes::from_static(b"details"));
        let back = Status::from(CallError::from(status));
        assert_eq!(
            (back.code(), back.message(), back.details()),
            (Code::Aborted, "moved on", &b"details"[..])
        );
        let nonsense = CallError { code: 0, ..CallError::default() };
        assert_eq!(Status::from(nonsense).code(), Code::Unknown);
    }
}
