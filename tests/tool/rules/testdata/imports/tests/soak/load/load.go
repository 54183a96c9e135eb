// Package load is soak's own.
package load
