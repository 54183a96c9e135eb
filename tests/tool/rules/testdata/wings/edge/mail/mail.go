// Package mail has a row and a wing.
package mail
