//! Remote command and port-forward framing over WebSocket and SPDY/3.1, used by API server and kubelet.
