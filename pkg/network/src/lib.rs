//! Netlink, nft and raw-packet primitives; the pod network, the service proxy and the load-balancer speaker.
