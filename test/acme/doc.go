// Package acme gets the certificate of pages and API from a real ACME server, of another maker: Let's Encrypt's Pebble, with
// the DNS server of its tests, against the program as people run it. It is a module of its own, so that nothing of the server
// can get into the product.
package acme
