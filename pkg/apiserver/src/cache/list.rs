//! Lists: at which revision, in which pages.
//!
//! The meaning of `resourceVersion` and `resourceVersionMatch` is
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-get-and-list>.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use knarr_api::Status;
use knarr_api::status::Result;
use knarr_store::{Range, Revision, prefix_end};
use serde::{Deserialize, Serialize};

use super::Cache;
use super::item::Item;
use super::selection::Selection;
use crate::request::{ListOptions, VersionMatch};

/// Where in history and order a list begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// Now: every write that was acknowledged is in it.
    Now,
    /// At this revision or a newer one.
    AtLeast(Revision),
    /// At exactly this revision.
    Exact(Revision),
    /// Where the previous page ended.
    Continue(Token),
}

/// A decoded `continue` token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// `None` goes on in the present: the client has accepted that the pages do not fit together.
    revision: Option<Revision>,
    /// First key of the page.
    start: Bytes,
}

/// One page of a list.
#[derive(Debug)]
pub struct Listing {
    /// In order of their keys.
    pub items: Vec<Arc<Item>>,
    /// Of which this is the truth.
    pub revision: Revision,
    /// The `continue` token, when there is more.
    pub next: Option<String>,
    /// How many more, when that is known.
    pub remaining: Option<usize>,
}

impl Position {
    /// What the options of a request ask for.
    ///
    /// # Errors
    /// For a malformed `continue` token.
    pub fn new(options: &ListOptions, selection: &Selection) -> Result<Self> {
        if !options.continue_token.is_empty() {
            if options.resource_version.is_some_and(|revision| revision != 0) {
                return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
            }
            return Token::decode(&options.continue_token, selection.root()).map(Self::Continue);
        }
        Ok(match (options.resource_version, options.version_match) {
            (None, _) => Self::Now,
            (Some(revision), Some(VersionMatch::Exact)) => Self::Exact(revision),
            // Without a match, a limit has always meant "exactly": the pages have to fit together.
            (Some(revision), None) if options.limit > 0 && revision > 0 => Self::Exact(revision),
            (Some(revision), _) => Self::AtLeast(revision),
        })
    }
}

/// The token's form is upstream's (`k8s.io/apiserver/pkg/storage/continue.go`); clients must not look into it.
#[derive(Serialize, Deserialize)]
struct Encoded {
    v: String,
    rv: i64,
    start: String,
}

impl Token {
    pub(super) fn decode(text: &str, root: &[u8]) -> Result<Self> {
        let invalid = |what: &dyn std::fmt::Display| Status::bad_request(format!("continue key is not valid: {what}"));
        let json = URL_SAFE_NO_PAD.decode(text).map_err(|error| invalid(&error))?;
        let token: Encoded = serde_json::from_slice(&json).map_err(|error| invalid(&error))?;
        if token.v != "meta.k8s.io/v1" {
            return Err(invalid(&format!("server does not recognize this encoded version {}", token.v)));
        }
        if token.rv == 0 {
            return Err(invalid(&"incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
        }
        if token.start.is_empty() {
            return Err(invalid(&"encoded start key empty (version meta.k8s.io/v1)"));
        }
        let start = [root, token.start.as_bytes()].concat().into();
        Ok(Self { revision: u64::try_from(token.rv).ok(), start })
    }

    fn encode(&self, root: &[u8]) -> String {
        let start = self.start.strip_prefix(root).unwrap_or(&self.start);
        let rv = self.revision.and_then(|revision| i64::try_from(revision).ok()).unwrap_or(-1);
        let token = Encoded { v: "meta.k8s.io/v1".into(), rv, start: String::from_utf8_lossy(start).into_owned() };
        URL_SAFE_NO_PAD.encode(serde_json::json!({"v": token.v, "rv": token.rv, "start": token.start}).to_string())
    }
}

impl Cache {
    /// One page of the selected objects; `limit` 0 means all.
    ///
    /// # Errors
    /// 410 when the revision has been compacted, 504 when it has not happened.
    pub async fn list(&self, selection: &Selection, position: Position, limit: usize) -> Result<Listing> {
        let (exactly, start) = match position {
            Position::Now => (None, Bytes::new()),
            Position::AtLeast(revision) => {
                self.progress.at_least(revision).await?;
                return Ok(self.list_items(selection, &[], limit));
            }
            Position::Exact(revision) => (Some(revision), Bytes::new()),
            Position::Continue(token) => (token.revision, token.start),
        };
        let Some(revision) = exactly else {
            self.progress.current(&self.store).await?;
            return Ok(self.list_items(selection, &start, limit));
        };
        self.progress.at_least(revision).await?;
        if self.read().changed <= revision {
            let mut listing = self.list_items(selection, &start, limit);
            if listing.revision <= revision || self.read().changed <= revision {
                listing.move_to(revision, selection.root());
                return Ok(listing);
            }
        }
        self.list_history(selection, revision, start, limit).await
    }

    /// A page of the present.
    fn list_items(&self, selection: &Selection, start: &[u8], limit: usize) -> Listing {
        let state = self.read();
        let mut range = state.range(selection.prefix(), start);
        let matching = range.by_ref().filter(|item| selection.matches(item)).cloned();
        let items: Vec<_> = if limit == 0 { matching.collect() } else { matching.take(limit).collect() };
        let revision = self.revision_of(&state);
        let (mut next, mut remaining) = (None, None);
        if limit > 0 && items.len() == limit {
            let left = range.count();
            next = items.last().filter(|_| left > 0).map(|last| after(last, Some(revision), selection));
            remaining = next.is_some().then_some(left);
        }
        Listing { items, revision, next, remaining: remaining.filter(|_| selection.is_everything()) }
    }

    /// A page of the past, from the store.
    async fn list_history(&self, selection: &Selection, at: Revision, start: Bytes, limit: usize) -> Result<Listing> {
        const PAGE: usize = 500;
        let token = Token { revision: None, start: start.clone() };
        let paging = !start.is_empty();
        let expired = |error| match error {
            knarr_store::Error::Compacted { .. } if paging => continue_expired(&token, selection),
            knarr_store::Error::Compacted { .. } => {
                Status::expired("The resourceVersion for the provided list is too old.")
            }
            other => Status::internal(other),
        };
        let end = prefix_end(selection.prefix());
        let mut from = if paging { start } else { Bytes::copy_from_slice(selection.prefix()) };
        let mut items: Vec<Arc<Item>> = Vec::new();
        loop {
            let range = Range { start: from, end: end.clone(), limit: PAGE, at: Some(at), ..Range::default() };
            let page = self.store.range(range).await.map_err(expired)?;
            let (read, count) = (page.items.len(), page.count);
            from = page.items.last().map(|last| [&last.key[..], b"\0"].concat().into()).unwrap_or_default();
            for (position, entry) in page.items.into_iter().enumerate() {
                let item = Item::read(entry, &self.reader).map_err(Status::internal)?;
                if !selection.matches(&item) {
                    continue;
                }
                items.push(item);
                let left = count - position - 1;
                if limit > 0 && items.len() == limit && left > 0 {
                    let next = items.last().map(|last| after(last, Some(at), selection));
                    let remaining = selection.is_everything().then_some(left);
                    return Ok(Listing { items, revision: at, next, remaining });
                }
            }
            if !page.more || read == 0 {
                return Ok(Listing { items, revision: at, next: None, remaining: None });
            }
        }
    }
}

impl Listing {
    /// Says that the page is the truth of `revision`, which it is when nothing has changed since.
    fn move_to(&mut self, revision: Revision, root: &[u8]) {
        self.revision = revision;
        if self.next.is_some()
            && let Some(last) = self.items.last()
        {
            self.next = Some(Token { revision: Some(revision), start: behind(last) }.encode(root));
        }
    }
}

/// The key right behind an item's.
fn behind(item: &Item) -> Bytes {
    [&item.key[..], b"\0"].concat().into()
}

fn after(last: &Item, revision: Option<Revision>, selection: &Selection) -> String {
    Token { revision, start: behind(last) }.encode(selection.root())
}

/// 410 with a token that goes on in the present, as upstream's `handleCompactedErrorForPaging`.
fn continue_expired(token: &Token, selection: &Selection) -> Status {
    let mut status = Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without \
         the continue parameter, or use the continue token in this response to retrieve the remainder of the results. \
         Continuing with the provided token results in an inconsistent list - objects that were created, modified, or \
         deleted between the time the first chunk was returned and now may show up in the list.",
    );
    status.metadata.insert("continue".into(), token.encode(selection.root()).into());
    status
}
