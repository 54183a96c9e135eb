// Command anymx exports nothing, whatever its names look like.
package main

func Exported() {}

func main() {}
