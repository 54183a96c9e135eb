// Command anymx is where it belongs.
package main

func main() {}
