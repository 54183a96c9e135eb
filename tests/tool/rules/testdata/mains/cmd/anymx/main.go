// Command anymx is short.
package main

func main() {}
