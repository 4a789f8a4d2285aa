//! A gRPC client that knows nothing but an address: it learns services and messages by reflection, as grpcurl does.

use std::collections::BTreeMap;

use anyhow::Context as _;
use bytes::{Buf as _, BufMut as _};
use futures_util::StreamExt as _;
use http::uri::PathAndQuery;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, ServiceDescriptor, Value};
use prost_types::FileDescriptorProto;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Request, Status};

/// What a server tells about itself.
pub struct Reflection {
    channel: Channel,
    services: Vec<String>,
    pool: DescriptorPool,
}

/// The two versions of the protocol, which differ in their names alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V1,
    V1Alpha,
}

/// What is asked, in whichever version.
#[derive(Debug, Clone)]
enum Question {
    Services,
    FileOf(String),
    File(String),
}

enum Told {
    Services(Vec<String>),
    Files(Vec<Vec<u8>>),
}

macro_rules! ask_in {
    ($version:ident, $channel:expr, $question:expr) => {{
        use pb::server_reflection_request::MessageRequest;
        use pb::server_reflection_response::MessageResponse;
        use tonic_reflection::pb::$version as pb;

        let message_request = Some(match $question {
            Question::Services => MessageRequest::ListServices(String::new()),
            Question::FileOf(symbol) => MessageRequest::FileContainingSymbol(symbol),
            Question::File(name) => MessageRequest::FileByFilename(name),
        });
        let request = pb::ServerReflectionRequest { host: String::new(), message_request };
        let mut client = pb::server_reflection_client::ServerReflectionClient::new($channel);
        let answers = client.server_reflection_info(tokio_stream::once(request)).await?.into_inner();
        let answer = answers.boxed().next().await.context("no answer")??;
        match answer.message_response.context("an empty answer")? {
            MessageResponse::ListServicesResponse(list) => {
                Told::Services(list.service.into_iter().map(|service| service.name).collect())
            }
            MessageResponse::FileDescriptorResponse(files) => Told::Files(files.file_descriptor_proto),
            other => anyhow::bail!("another answer: {other:?}"),
        }
    }};
}

impl Reflection {
    /// Asks for the services and everything that they refer to.
    pub async fn learn(channel: Channel, version: Version) -> anyhow::Result<Self> {
        let ask = async |question: Question| {
            let channel = channel.clone();
            anyhow::Ok(match version {
                Version::V1 => ask_in!(v1, channel, question),
                Version::V1Alpha => ask_in!(v1alpha, channel, question),
            })
        };
        let Told::Services(services) = ask(Question::Services).await? else {
            anyhow::bail!("no list of services");
        };
        let mut files: BTreeMap<String, FileDescriptorProto> = BTreeMap::new();
        let mut questions: Vec<_> = services.iter().cloned().map(Question::FileOf).collect();
        while let Some(question) = questions.pop() {
            let Told::Files(told) = ask(question).await? else { anyhow::bail!("no files") };
            for file in told {
                let file = FileDescriptorProto::decode(&*file)?;
                let missing = file.dependency.iter().filter(|name| !files.contains_key(*name));
                questions.extend(missing.cloned().map(Question::File));
                files.insert(file.name().to_owned(), file);
            }
        }
        let mut pool = DescriptorPool::new();
        pool.add_file_descriptor_protos(files.into_values())?;
        Ok(Self { channel, services, pool })
    }

    pub fn services(&self) -> &[String] {
        &self.services
    }

    /// Calls a unary method with text fields, and tells the answer.
    pub async fn call(
        &self,
        service: &str,
        method: &str,
        fields: &[(&str, &str)],
    ) -> anyhow::Result<Result<DynamicMessage, Status>> {
        let service: ServiceDescriptor =
            self.pool.get_service_by_name(service).context("there is no such service")?;
        let method =
            service.methods().find(|known| known.name() == method).context("there is no such method")?;
        let mut request = DynamicMessage::new(method.input());
        for (name, value) in fields {
            request.try_set_field_by_name(name, Value::String((*value).to_owned()))?;
        }
        let path: PathAndQuery = format!("/{}/{}", service.full_name(), method.name()).parse()?;
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client.ready().await?;
        let answer = client.unary(Request::new(request), path, DynamicCodec(method.output())).await;
        Ok(answer.map(tonic::Response::into_inner))
    }
}

/// Messages whose type is known at run time alone; holds that of the answer.
struct DynamicCodec(MessageDescriptor);

impl Codec for DynamicCodec {
    type Encode = DynamicMessage;
    type Decode = DynamicMessage;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self(self.0.clone())
    }

    fn decoder(&mut self) -> Self {
        Self(self.0.clone())
    }
}

impl Encoder for DynamicCodec {
    type Item = DynamicMessage;
    type Error = Status;

    fn encode(&mut self, message: DynamicMessage, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&message.encode_to_vec());
        Ok(())
    }
}

impl Decoder for DynamicCodec {
    type Item = DynamicMessage;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        let message = DynamicMessage::decode(self.0.clone(), bytes);
        message.map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}
