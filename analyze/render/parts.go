package render

import "whichbackend/analyze/resolve"

// This file is what other ways to show an answer may ask of this one, so that
// all call a thing by the same words.

// Called is how a party is called, "" when it has no name.
func Called(p resolve.Party) string { return name(p) }

// Address is the address of a party, without a port that is not known.
func Address(p resolve.Party) string { return address(p) }

// Change says what a hop did.
func Change(c *resolve.Connection, h resolve.Hop) string { return change(c, h) }

// Began says how a connection began and ended.
func Began(h *resolve.Handshake) string { return handshake(h) }

// Place shortens a scope to the part that tells it from its neighbours.
func Place(scope string) string { return place(scope) }

// Words is a table or log as a person calls it.
func Words(via string) string { return words(via) }

// Position is where a piece of evidence is written.
func Position(e resolve.Evidence) string { return position(e) }

// ByRequest says why a connection through an HTTP proxy may have several backends.
func ByRequest(c *resolve.Connection) string { return byRequest(c) }
