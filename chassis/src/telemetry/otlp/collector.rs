//! The collector's end of the line, as a client sees it: requests go out as the bytes that they are.

use std::time::Duration;

use bytes::{BufMut as _, Bytes};
use http::uri::PathAndQuery;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use tokio::time::timeout;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::{ProstCodec, ProstDecoder};

/// How long one attempt to send may take.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection on which nothing comes back for so long is given up for another one.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

pub(super) struct Collector(tonic::client::Grpc<Channel>);

impl Collector {
    /// To be called within a runtime. Connects when there is something to send.
    ///
    /// # Errors
    /// An endpoint that is no URL.
    pub(super) fn new(endpoint: &str) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(endpoint.to_owned())?
            .connect_timeout(SEND_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE);
        Ok(Self(tonic::client::Grpc::new(endpoint.connect_lazy())))
    }

    /// Sends an `ExportTraceServiceRequest`. Tells how many of its spans were refused.
    pub(super) async fn export(&mut self, request: Bytes) -> Result<u64, Status> {
        let answer = async {
            self.0.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            let path =
                PathAndQuery::from_static("/opentelemetry.proto.collector.trace.v1.TraceService/Export");
            self.0.unary(Request::new(request), path, Encoded).await
        };
        let answer = timeout(SEND_TIMEOUT, answer).await;
        let answer = answer.map_err(|_| Status::deadline_exceeded("no answer in time"))??.into_inner();
        let refused = answer.partial_success.map_or(0, |it| it.rejected_spans);
        Ok(u64::try_from(refused).unwrap_or_default())
    }
}

/// Whether the same may be taken later, as the OTLP specification has it; all else would be refused again.
pub(super) fn is_transient(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// Requests are encoded already.
#[derive(Default)]
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = ExportTraceServiceResponse;
    type Encoder = Self;
    type Decoder = ProstDecoder<ExportTraceServiceResponse>;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<(), _>::raw_decoder(BufferSettings::default())
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, request: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(request);
        Ok(())
    }
}
