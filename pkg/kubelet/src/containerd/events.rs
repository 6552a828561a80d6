//! containerd's own events: the end of a container's main process, in every version that is in use.

use futures::{Stream, StreamExt as _};
use prost::Message as _;
use tonic::Status;
use tonic::transport::Channel;

use super::NAMESPACE;
use super::import::namespaced;
use crate::proto::containerd::events::TaskExit;
use crate::proto::containerd::services::events::v1::SubscribeRequest;
use crate::proto::containerd::services::events::v1::events_client::EventsClient;

/// A container or sandbox whose main process has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// CRI's id of the container or sandbox.
    pub id: String,
}

/// Subscribes to exits. The stream ends with containerd; what happened before the subscription must be listed.
///
/// # Errors
/// When containerd does not answer.
pub(crate) async fn exits(channel: Channel) -> Result<impl Stream<Item = Exit> + use<>, Status> {
    let filters = vec![format!("topic==\"/tasks/exit\",namespace==\"{NAMESPACE}\"")];
    let envelopes = EventsClient::new(channel).subscribe(namespaced(SubscribeRequest { filters })).await?.into_inner();
    let exits = envelopes.take_while(|envelope| std::future::ready(envelope.is_ok())).filter_map(|envelope| {
        let envelope = envelope.unwrap_or_default();
        let exit = envelope.event.and_then(|event| TaskExit::decode(event.value.as_slice()).ok());
        // Commands run inside a container (exec) end with an id of their own.
        let main = exit.filter(|exit| exit.id == exit.container_id).map(|exit| Exit { id: exit.container_id });
        std::future::ready(main)
    });
    Ok(exits)
}
