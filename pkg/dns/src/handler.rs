//! From a query to its answer.

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, Record, RecordType};
use hickory_server::net::runtime::Time;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;

use crate::forward::Forwarder;
use crate::zone::{Answer, Zone};

/// The largest UDP answer that survives most networks unfragmented (DNS flag day 2020).
const PAYLOAD: u16 = 1232;

/// Answers from the zone, and forwards the rest.
pub(crate) struct Handler {
    zone: Arc<RwLock<Zone>>,
    forwarder: Forwarder,
}

/// The sections of an answer.
#[derive(Default)]
struct Sections {
    code: ResponseCode,
    authoritative: bool,
    answers: Vec<Record>,
    authorities: Vec<Record>,
    additionals: Vec<Record>,
}

impl Sections {
    fn failure(code: ResponseCode) -> Self {
        Self { code, ..Self::default() }
    }

    fn forwarded(message: Message) -> Self {
        Self {
            code: message.metadata.response_code,
            authoritative: false,
            answers: message.answers,
            authorities: message.authorities,
            additionals: message.additionals,
        }
    }
}

impl Handler {
    pub(crate) fn new(zone: Arc<RwLock<Zone>>, forwarder: Forwarder) -> Self {
        Self { zone, forwarder }
    }

    async fn answer(&self, request: &Request) -> Sections {
        if request.metadata.op_code != OpCode::Query || request.metadata.message_type != MessageType::Query {
            return Sections::failure(ResponseCode::NotImp);
        }
        let Ok(info) = request.request_info() else { return Sections::failure(ResponseCode::FormErr) };
        let (name, kind) = (info.query.original().name(), info.query.query_type());
        match self.ours(name, kind) {
            (Answer::Ours { code, records, additionals }, soa) => Sections {
                code,
                authoritative: true,
                authorities: if records.is_empty() { vec![soa] } else { Vec::new() },
                answers: records,
                additionals,
            },
            (Answer::Alias(alias, target), _) => self.follow(request, *alias, target, kind).await,
            (Answer::Elsewhere, _) => self.forward(request.as_slice(), request.protocol()).await,
        }
    }

    fn ours(&self, name: &Name, kind: RecordType) -> (Answer, Record) {
        let zone = self.zone.read().unwrap_or_else(PoisonError::into_inner);
        (zone.answer(name, kind), zone.soa())
    }

    /// An alias of a name outside, or of another Service.
    async fn follow(&self, request: &Request, alias: Record, target: Name, kind: RecordType) -> Sections {
        let mut sections = match self.ours(&target, kind) {
            _ if kind == RecordType::CNAME => Sections::default(),
            (Answer::Ours { records, .. }, _) => Sections { answers: records, ..Sections::default() },
            _ => {
                let mut message = Message::new(request.metadata.id, MessageType::Query, OpCode::Query);
                message.metadata.recursion_desired = true;
                message.add_query(Query::query(target, kind));
                match message.to_vec() {
                    Ok(query) => self.forward(&query, request.protocol()).await,
                    Err(_) => Sections::failure(ResponseCode::ServFail),
                }
            }
        };
        sections.answers.insert(0, alias);
        // A target that nobody can resolve now is still the Service's alias.
        sections.code = ResponseCode::NoError;
        sections.authoritative = true;
        sections
    }

    async fn forward(&self, query: &[u8], protocol: Protocol) -> Sections {
        match self.forwarder.ask(query, protocol != Protocol::Udp).await {
            Ok(message) => Sections::forwarded(message),
            Err(error) => {
                tracing::debug!(%error, "cannot forward a query");
                Sections::failure(ResponseCode::ServFail)
            }
        }
    }
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut response: R) -> ResponseInfo {
        let sections = self.answer(request).await;
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = sections.code;
        metadata.authoritative = sections.authoritative;
        metadata.recursion_available = true;
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD).set_version(0);
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if request.edns.is_some() {
            builder.edns(&edns);
        }
        let (answers, authorities, additionals) = (&sections.answers, &sections.authorities, &sections.additionals);
        let message = builder.build(metadata, answers, authorities, [], additionals);
        match response.send_response(message).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%error, "cannot answer a query");
                hickory_proto::op::Header { metadata, counts: Default::default() }.into()
            }
        }
    }
}
